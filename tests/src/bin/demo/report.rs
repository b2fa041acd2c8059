//! The table at the end.

use crate::story::Chapter;
use fulcrum_tests::probe::Timeline;
use std::fmt::Write;

/// What the client saw, a line for each event.
pub(crate) fn table(chapters: &[Chapter], seen: &Timeline) -> String {
    let mut text = format!(
        "\nWhat the client saw ({} requests, each over a new connection)\n\n{:<42} {:>12} {:>8} {:>9} {:>13}  {}\n",
        seen.samples().len(),
        "event",
        "longest gap",
        "failed",
        "of",
        "client paused",
        "leader"
    );
    for chapter in chapters {
        let part = seen.between(chapter.at, chapter.until);
        // Writing to a String does not fail.
        writeln!(
            text,
            "{:<42} {:>9} ms {:>8} {:>9} {:>10} ms  {} -> {}",
            chapter.title,
            part.longest_gap().as_millis(),
            part.failed(),
            part.samples().len(),
            part.longest_pause().as_millis(),
            chapter.leader_before,
            chapter.leader_after
        )
        .ok();
    }
    text.push_str(
        "\nThe gap is the longest time in which no new request was answered; without any fault it is a few milliseconds.\n\
         A busy machine makes the client itself pause: a gap that is hardly longer is the client's, not the pair's.\n",
    );
    text.push_str(&lasting(chapters));
    text
}

/// The longest time without a byte, or from a command to its answer.
fn lasting(chapters: &[Chapter]) -> String {
    let mut text = String::new();
    for chapter in chapters {
        let Some(stalls) = chapter.stalls else { continue };
        if text.is_empty() {
            text = format!(
                "\nConnections made before all this (mode dsr)\n\n{:<42} {:>20} {:>20}\n",
                "event", "download stalled", "terminal stalled"
            );
        }
        // Writing to a String does not fail.
        writeln!(
            text,
            "{:<42} {:>17} ms {:>17} ms",
            chapter.title,
            stalls.download.as_millis(),
            stalls.terminal.as_millis()
        )
        .ok();
    }
    text
}
