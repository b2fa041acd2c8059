//! The timeline as an SVG: for each event, requests answered and failed per 10 ms, coloured by who answered.

use crate::story::Chapter;
use fulcrum_tests::probe::{Sample, Timeline};
use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, Instant};

const BIN: Duration = Duration::from_millis(10);
/// Each panel shows so much time before and after its event.
const BEFORE: Duration = Duration::from_millis(200);
const AFTER: Duration = Duration::from_millis(800);
const BINS: u32 = 100;
const BIN_WIDTH: u32 = 8;
const LEFT: u32 = 20;
const PANEL: u32 = 110;
const BARS: u32 = 64;
const COLOURS: [&str; 2] = ["#2b7de9", "#12a594"];
const FAILED: &str = "#e5484d";

/// Draws it.
pub(crate) fn svg(chapters: &[Chapter], seen: &Timeline) -> String {
    let count = u32::try_from(chapters.len()).unwrap_or_default();
    let width = LEFT.saturating_mul(2).saturating_add(BINS.saturating_mul(BIN_WIDTH));
    let height = PANEL.saturating_mul(count).saturating_add(70);
    let mut nodes: Vec<IpAddr> = seen.via().into_keys().collect();
    nodes.truncate(COLOURS.len());
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\" font-weight=\"bold\">New connections to the VIP, per 10 ms</text>\n"
    );
    legend(&mut text, &nodes);
    for (index, chapter) in (0_u32..).zip(chapters) {
        let top = index.saturating_mul(PANEL).saturating_add(60);
        panel(&mut text, top, chapter, seen, &nodes);
    }
    text.push_str("</svg>\n");
    text
}

fn legend(text: &mut String, nodes: &[IpAddr]) {
    let names = nodes.iter().map(|node| format!("answered through {node}"));
    let entries = COLOURS.into_iter().zip(names).chain([(FAILED, "failed".to_owned())]);
    let mut x = LEFT;
    for (colour, name) in entries {
        // Writing to a String does not fail.
        writeln!(
            text,
            "<rect x=\"{x}\" y=\"33\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"43\">{name}</text>",
            x.saturating_add(17)
        )
        .ok();
        x = x.saturating_add(210);
    }
}

fn panel(text: &mut String, top: u32, chapter: &Chapter, seen: &Timeline, nodes: &[IpAddr]) {
    let bottom = top.saturating_add(20).saturating_add(BARS);
    let (from, to) = (before(chapter.at), chapter.at.checked_add(AFTER).unwrap_or(chapter.at));
    let part = seen.between(from, to);
    let gap = seen.between(from, chapter.until).longest_gap().as_millis();
    writeln!(
        text,
        "<text x=\"{LEFT}\" y=\"{}\">{}: <tspan font-weight=\"bold\">{gap} ms</tspan> without service</text>",
        top.saturating_add(12),
        chapter.title
    )
    .ok();
    let mut bins = vec![[0_u32; 3]; usize::try_from(BINS).unwrap_or_default()];
    for sample in part.samples() {
        let kind = kind(sample, nodes);
        let bin = bins.get_mut(bin_of(sample.begun, from));
        if let Some(count) = bin.and_then(|bin| bin.get_mut(kind)) {
            *count = count.saturating_add(1);
        }
    }
    let tallest = bins.iter().map(|bin| bin.iter().sum::<u32>()).max().unwrap_or_default().max(1);
    for (index, bin) in (0_u32..).zip(&bins) {
        let x = LEFT.saturating_add(index.saturating_mul(BIN_WIDTH));
        let mut y = bottom;
        for (count, colour) in bin.iter().zip([COLOURS[0], COLOURS[1], FAILED]) {
            let height = count.saturating_mul(BARS).checked_div(tallest).unwrap_or_default();
            y = y.saturating_sub(height);
            if height > 0 {
                let width = BIN_WIDTH.saturating_sub(1);
                writeln!(
                    text,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{colour}\"/>"
                )
                .ok();
            }
        }
    }
    axis(text, top, bottom);
}

fn axis(text: &mut String, top: u32, bottom: u32) {
    let right = LEFT.saturating_add(BINS.saturating_mul(BIN_WIDTH));
    let bins_before = u32::try_from(BEFORE.as_millis().checked_div(BIN.as_millis()).unwrap_or_default())
        .unwrap_or_default();
    let event = LEFT.saturating_add(bins_before.saturating_mul(BIN_WIDTH));
    writeln!(
        text,
        "<line x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{bottom}\" stroke=\"#888\"/>\
         <line x1=\"{event}\" y1=\"{}\" x2=\"{event}\" y2=\"{bottom}\" stroke=\"black\" stroke-dasharray=\"3 2\"/>\
         <text x=\"{event}\" y=\"{}\" font-size=\"10\" text-anchor=\"middle\">0</text>\
         <text x=\"{right}\" y=\"{}\" font-size=\"10\" text-anchor=\"end\">{} ms</text>",
        top.saturating_add(18),
        bottom.saturating_add(12),
        bottom.saturating_add(12),
        AFTER.as_millis()
    )
    .ok();
}

fn before(event: Instant) -> Instant {
    event.checked_sub(BEFORE).unwrap_or(event)
}

fn bin_of(moment: Instant, from: Instant) -> usize {
    let offset = moment.saturating_duration_since(from).as_millis();
    usize::try_from(offset.checked_div(BIN.as_millis()).unwrap_or_default()).unwrap_or(usize::MAX)
}

/// 0 or 1: answered through that node; 2: failed.
fn kind(sample: &Sample, nodes: &[IpAddr]) -> usize {
    sample.via().and_then(|via| nodes.iter().position(|node| *node == via)).unwrap_or(COLOURS.len())
}
