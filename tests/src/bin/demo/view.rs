//! The live view.

use crate::story::{self, Chapter, Stage};
use fulcrum_tests::Result;
use fulcrum_tests::error::Context;
use fulcrum_tests::lab::Lab;
use fulcrum_tests::wait::now;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, List, Paragraph, Sparkline};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Time shown by the bar of requests, each column so long.
const COLUMN: Duration = Duration::from_millis(50);
const COLUMNS: u32 = 120;

#[derive(Default)]
struct Shared {
    log: Mutex<Vec<String>>,
    roles: Mutex<BTreeMap<String, String>>,
    over: AtomicBool,
}

/// Plays the story with a view of it; ends when the story has and a key was pressed. A key that asks to quit ends
/// the program, and takes the lab with it.
pub(crate) fn show(stage: &Arc<Stage>, lab: &Arc<Lab>) -> Result<Vec<Chapter>> {
    let shared = Arc::new(Shared::default());
    let story = {
        let (stage, lab, shared) = (Arc::clone(stage), Arc::clone(lab), Arc::clone(&shared));
        std::thread::spawn(move || {
            let result = story::tell(&stage, &lab, &|line| {
                shared.log.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
            });
            shared.over.store(true, Ordering::Relaxed);
            result
        })
    };
    {
        let (stage, shared) = (Arc::clone(stage), Arc::clone(&shared));
        std::thread::spawn(move || {
            while !shared.over.load(Ordering::Relaxed) {
                for name in ["lb1", "lb2"] {
                    let role = stage.role(name);
                    shared.roles.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into(), role);
                }
                std::thread::sleep(LOOK_EVERY);
            }
        });
    }
    let mut terminal = ratatui::try_init().context("use the terminal (try --no-wait)")?;
    let ended = watch(&mut terminal, stage, &shared);
    ratatui::restore();
    if !ended? {
        // The signal's handler removes the lab and ends the program.
        signal_hook::low_level::raise(signal_hook::consts::SIGINT).context("stop")?;
        std::thread::sleep(Duration::from_secs(30));
    }
    story.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Draws until the story is over and a key was pressed; false if it was broken off.
fn watch(terminal: &mut ratatui::DefaultTerminal, stage: &Stage, shared: &Shared) -> Result<bool> {
    let mut worst = Duration::ZERO;
    loop {
        let gap = current_gap(stage);
        worst = worst.max(gap);
        terminal.draw(|frame| draw(frame, stage, shared, gap, worst)).context("draw")?;
        if !event::poll(LOOK_EVERY).context("read the keyboard")? {
            continue;
        }
        let Event::Key(key) = event::read().context("read the keyboard")? else { continue };
        if key.kind != KeyEventKind::Press {
            continue;
        }
        let over = shared.over.load(Ordering::Relaxed);
        let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        if interrupt || (key.code == KeyCode::Char('q') && !over) {
            return Ok(false);
        }
        if over {
            return Ok(true);
        }
    }
}

/// For how long no new request has been answered.
fn current_gap(stage: &Stage) -> Duration {
    let Some(since) = now().checked_sub(Duration::from_secs(5)) else { return Duration::ZERO };
    let seen = stage.recent(since);
    let last = seen.samples().iter().rev().find(|sample| sample.is_answer()).map(|sample| sample.begun);
    last.map_or(Duration::from_secs(5), |last| last.elapsed())
}

fn draw(frame: &mut Frame<'_>, stage: &Stage, shared: &Shared, gap: Duration, worst: Duration) {
    let [head, middle, bars, log] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Min(5),
    ])
    .areas(frame.area());
    let [nodes, backends] = Layout::horizontal([Constraint::Percentage(50); 2]).areas(middle);

    let without = gap > Duration::from_millis(50);
    let meter = Line::from(vec![
        Span::raw(format!(" VIP {}   led by ", stage.pair.service())),
        Span::styled(stage.leader(), Style::new().bold().fg(Color::Cyan)),
        Span::raw("   without service: "),
        Span::styled(
            format!("{} ms", if without { gap.as_millis() } else { 0 }),
            Style::new().bold().fg(if without { Color::Red } else { Color::Green }),
        ),
        Span::raw(format!("   longest so far: {} ms", worst.as_millis())),
    ]);
    frame.render_widget(Paragraph::new(meter).block(Block::bordered().title(" Fulcrum ")), head);

    let roles = shared.roles.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let lines: Vec<Line<'_>> = roles.iter().map(|(name, role)| node_line(name, role)).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" nodes ")), nodes);

    let second = now().checked_sub(Duration::from_secs(1)).map(|since| stage.recent(since));
    let served = second.map(|seen| seen.backends()).unwrap_or_default();
    let lines: Vec<Line<'_>> =
        served.iter().map(|(name, count)| Line::from(format!(" {name}  {count:>5} requests/s"))).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" web servers ")), backends);

    let title = " answered requests, 50 ms a column ";
    let data = columns(stage);
    let block = Block::bordered().title(title);
    frame.render_widget(
        Sparkline::default().data(data).style(Style::new().fg(Color::Green)).block(block),
        bars,
    );

    let lines = shared.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let over = shared.over.load(Ordering::Relaxed);
    let title = if over { " what happens (any key: the table) " } else { " what happens (q: stop) " };
    let height = usize::from(log.height.saturating_sub(2));
    let shown = lines.into_iter().rev().take(height).collect::<Vec<_>>().into_iter().rev();
    frame.render_widget(List::new(shown).block(Block::bordered().title(title)), log);
}

fn node_line<'a>(name: &'a str, role: &'a str) -> Line<'a> {
    let colour = match role {
        "leader" => Color::Cyan,
        "standby" => Color::Green,
        _ => Color::Red,
    };
    Line::from(vec![Span::raw(format!(" {name}  ")), Span::styled(role, Style::new().bold().fg(colour))])
}

fn columns(stage: &Stage) -> Vec<u64> {
    let Some(since) = now().checked_sub(COLUMN.saturating_mul(COLUMNS)) else { return Vec::new() };
    let mut columns = vec![0_u64; usize::try_from(COLUMNS).unwrap_or_default()];
    for sample in stage.recent(since).samples().iter().filter(|sample| sample.is_answer()) {
        if let Some(column) = columns.get_mut(column_of(sample.begun, since)) {
            *column = column.saturating_add(1);
        }
    }
    columns
}

fn column_of(moment: Instant, since: Instant) -> usize {
    let offset = moment.saturating_duration_since(since).as_millis();
    usize::try_from(offset.checked_div(COLUMN.as_millis()).unwrap_or_default()).unwrap_or(usize::MAX)
}
