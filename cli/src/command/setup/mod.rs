//! `vfw setup`: first rules from a few questions.

mod terminal;

use std::path::PathBuf;

use super::{Exit, Failure, check, show_diagnostics};
use crate::config::Config;
use crate::daemon;
use crate::lang::SourceFile;
use crate::lang::registry::SERVICES;
use crate::setup::{Draft, Interfaces, Pair, PairError, ZoneAnswers};
use terminal::{Terminal, nothing_changed};

const EXAMPLE: &str = "\
Example:
  vfw setup

It shows what it would write, checks it as `vfw check` does, and asks before it
writes. What was there is kept as rules.fw.before and vfw.toml.before; good
settings stay as they are. Ctrl-C at any time leaves everything as it was.
Exit code: 0 written, 1 not written, 2 the system refused.";

/// `vfw setup`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    /// Where rules.fw and vfw.toml are.
    #[arg(long, value_name = "FOLDER", default_value = FOLDER)]
    pub folder: PathBuf,
    /// An interface to leave out, beside those by which this machine is reached now.
    #[arg(long, value_name = "INTERFACE")]
    pub management: Vec<String>,
    /// Refuse when there are rules already, also when they come to be there meanwhile.
    #[arg(long)]
    pub first: bool,
}

/// Where the service looks for its files.
const FOLDER: &str = "/etc/vfw";

/// The settings that the package has: all defaults, and words about them.
const SETTINGS: &str = include_str!("../../../../packaging/vfw.toml");

/// Asks, shows, writes.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let terminal = Terminal::open()?;
    let pair = Pair::new(&arguments.folder, arguments.first).map_err(|error| failure(&error))?;
    let interfaces = Interfaces::look(&arguments.management).map_err(Failure::refused)?;
    terminal.say("Writes the first rules from a few questions; Ctrl-C leaves everything as it is.\n\nInterfaces");
    for line in interfaces.lines() {
        terminal.say(&format!("  {line}"));
    }
    if interfaces.free().is_empty() {
        let message = "no interface is left for vfw: add one to this machine, or take the addresses off one that \
                       it does not need (ip address flush dev NAME)";
        return Err(Failure { exit: Exit::Refused, message: message.to_owned() });
    }
    let mut draft = Draft::default();
    ask_zones(&terminal, &interfaces, &mut draft)?;
    ask_routes(&terminal, &mut draft)?;
    ask_rules(&terminal, &mut draft)?;
    let (settings, config) = settings(&terminal, &pair)?;
    confirm(&terminal, &pair, &draft.text(), &settings, &config)?;
    let kept = pair.write(&draft.text(), &settings, arguments.first).map_err(|error| failure(&error))?;
    terminal.say(&format!("\nwritten: {}, {}", pair.rules().display(), pair.settings().display()));
    for copy in kept {
        terminal.say(&format!("what was there: {}", copy.display()));
    }
    terminal.say(&next(arguments, &pair, &config));
    Ok(())
}

fn failure(error: &PairError) -> Failure {
    let exit = if matches!(error, PairError::NotFirst(_)) { Exit::BadInput } else { Exit::Refused };
    Failure { exit, message: error.to_string() }
}

/// What cannot happen to an answer that was taken.
fn lost(message: String) -> Failure {
    Failure { exit: Exit::Refused, message }
}

/// Fewer zones have nothing to route between.
const LEAST_ZONES: usize = 2;

fn ask_zones(terminal: &Terminal, interfaces: &Interfaces, draft: &mut Draft) -> Result<(), Failure> {
    terminal.say(
        "\nZones: the networks that vfw routes between. Its addresses in a zone, such as\n\
         10.0.10.1/24, fd00:10::1/64, are the gateways of the hosts there.",
    );
    let mut unused: Vec<&str> = interfaces.free();
    loop {
        let number = draft.zones().len() + 1;
        let end = if number > LEAST_ZONES { " (empty: no more)" } else { "" };
        let name = terminal.ask(&format!("Zone {number}, name{end}"), None, |name| match name {
            "" if number > LEAST_ZONES => Ok(()),
            name => draft.try_name(name),
        })?;
        if name.is_empty() {
            return Ok(());
        }
        let default = unused.first().copied().or(interfaces.free().last().copied());
        let interface = terminal.ask("  interface", default, |name| interfaces.try_name(name))?;
        unused.retain(|free| *free != interface);
        let place = ZoneAnswers { name: &name, interface: &interface, vlan: "" };
        let vlan =
            terminal.ask("  VLAN (empty: untagged)", None, |vlan| draft.try_vlan(ZoneAnswers { vlan, ..place }))?;
        let place = ZoneAnswers { vlan: &vlan, ..place };
        let addresses = terminal.ask("  addresses of vfw", None, |addresses| draft.try_zone(place, addresses))?;
        draft.add_zone(place, &addresses).map_err(lost)?;
    }
}

fn ask_routes(terminal: &Terminal, draft: &mut Draft) -> Result<(), Failure> {
    terminal.say("");
    let question = "Router to everything else, IPv4, IPv6 or both (empty: none)";
    let via = terminal.ask(question, None, |via| draft.try_default_routes(via))?;
    draft.set_default_routes(&via).map_err(lost)
}

fn ask_rules(terminal: &Terminal, draft: &mut Draft) -> Result<(), Failure> {
    terminal.say(
        "\nWhat may pass: services such as `ping, https, tcp 8080-8090`, or `any`; nothing\n\
         without an answer. `?` lists the names. Replies pass by themselves.",
    );
    let zones: Vec<String> = draft.zones().into_iter().map(str::to_owned).collect();
    let pairs = zones.iter().flat_map(|from| zones.iter().map(move |to| (from, to)));
    for (from, to) in pairs.filter(|(from, to)| from != to) {
        let services = terminal.ask(&format!("{from} -> {to}"), None, |services| match services {
            "?" => Err(names()),
            services => draft.try_rule(from, to, services),
        })?;
        draft.add_rule(from, to, &services).map_err(lost)?;
    }
    Ok(())
}

/// The names of the services of the language.
fn names() -> String {
    let names = SERVICES.iter().map(|row| row.text).collect::<Vec<_>>().join(", ");
    textwrap::fill(&names, 76)
}

/// The settings that are there when they are good, else the defaults.
fn settings(terminal: &Terminal, pair: &Pair) -> Result<(String, Config), Failure> {
    let name = pair.settings().display().to_string();
    if let Some(text) = pair.read_settings().map_err(|error| failure(&error))? {
        match Config::parse(&name, &text) {
            Ok(config) => return Ok((text, config)),
            Err(error) => terminal.say(&format!("\nThe settings that are there are replaced:\n{error}")),
        }
    }
    let config = Config::parse(&name, SETTINGS).map_err(Failure::refused)?;
    Ok((SETTINGS.to_owned(), config))
}

/// Shows both files and what `vfw check` says of them, and goes on after a yes.
fn confirm(terminal: &Terminal, pair: &Pair, rules: &str, settings: &str, config: &Config) -> Result<(), Failure> {
    for (path, text) in [(pair.rules(), rules), (pair.settings(), settings)] {
        terminal.say(&format!("\n--- {}\n{}", path.display(), text.trim_end()));
    }
    let sources = [SourceFile::new(pair.rules().display().to_string(), rules)];
    let (found, verdict) = check::verdict(&sources, config);
    terminal.say("---\n");
    show_diagnostics(&found, &sources);
    terminal.say(&format!("{verdict}\n"));
    if found.has_errors() {
        return Err(nothing_changed());
    }
    let answer = terminal.ask("Write both files? (yes or no)", None, |answer| match answer {
        "yes" | "no" => Ok(()),
        _ => Err("answer `yes` or `no`".to_owned()),
    })?;
    if answer == "yes" { Ok(()) } else { Err(nothing_changed()) }
}

/// How to put it in force.
fn next(arguments: &Arguments, pair: &Pair, config: &Config) -> String {
    let (rules, settings) = (pair.rules(), pair.settings());
    if arguments.folder.as_path() != std::path::Path::new(FOLDER) {
        return format!("next: vfw run --config {} {}", settings.display(), rules.display());
    }
    if daemon::is_forwarding(config) {
        return "next: systemctl reload vfw (or restart, when other settings were written)".to_owned();
    }
    "next: systemctl enable --now vfw".to_owned()
}
