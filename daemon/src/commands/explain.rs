//! `fulcrum explain`.

use crate::cli::inspect::ExplainOptions;
use crate::client::Client;
use crate::commands::{ask, print};
use crate::error::Failure;
use crate::explain::explain;
use fulcrum_lifecycle::Status;
use std::process::ExitCode;

pub(crate) fn command(options: &ExplainOptions) -> Result<ExitCode, Failure> {
    let status = ask::<Status>(&Client::new(&options.connect))?;
    let name = &options.name;
    let explained = explain(&status, name).map_err(|near| {
        let near = if near.is_empty() {
            "there is none at all".to_owned()
        } else {
            format!("near it are: {}", near.join(", "))
        };
        Failure::Refused(format!(
            "there is no VIP and no service {name} here; {near}\n  'fulcrum status' shows all of them"
        ))
    })?;
    if options.json {
        let answer = serde_json::to_string_pretty(&explained)
            .map_err(|error| Failure::Refused(format!("the answer can't be shown: {error}")))?;
        return print(&format!("{answer}\n"));
    }
    let lines = explained.chain.iter().map(|step| format!("{:8} {}\n", step.about, step.text));
    print(&lines.collect::<String>())
}
