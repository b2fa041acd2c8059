//! The table at the end.

use crate::story::Chapter;
use fulcrum_tests::probe::Timeline;
use std::fmt::Write;

/// What the client saw, a line for each event.
pub(crate) fn table(chapters: &[Chapter], seen: &Timeline) -> String {
    let mut text = format!(
        "\nWhat the client saw ({} requests, each over a new connection)\n\n{:<42} {:>12} {:>8} {:>9}  {}\n",
        seen.samples().len(),
        "event",
        "longest gap",
        "failed",
        "of",
        "leader"
    );
    for chapter in chapters {
        let part = seen.between(chapter.at, chapter.until);
        // Writing to a String does not fail.
        writeln!(
            text,
            "{:<42} {:>9} ms {:>8} {:>9}  {} -> {}",
            chapter.title,
            part.longest_gap().as_millis(),
            part.failed(),
            part.samples().len(),
            chapter.leader_before,
            chapter.leader_after
        )
        .ok();
    }
    text.push_str(
        "\nThe gap is the longest time in which no new request was answered. Without any fault it is a few\n\
         milliseconds on a busy machine.\n",
    );
    text
}
