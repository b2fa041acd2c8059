use super::*;

fn alarm(what: &str) -> Alarm {
    Alarm {
        severity: Severity::Warning,
        what: what.to_owned(),
        affected: "clients".to_owned(),
        remedy: "look".to_owned(),
    }
}

#[test]
fn each_alarm_is_logged_once_and_when_it_has_gone() {
    let mut known = Known::default();
    let full = [alarm("900 of 1000 connections in use")];
    assert_eq!(known.handle(&full), [News::Raised(&full[0])]);
    let fuller = [alarm("950 of 1000 connections in use"), alarm("no guard")];
    assert_eq!(known.handle(&fuller), [News::Raised(&fuller[1])]);
    let gone = [News::Cleared(" of # connections in use (clients)".to_owned())];
    assert_eq!(known.handle(&fuller[1..]), gone);
    assert_eq!(known.handle(&fuller[1..]), []);
}
