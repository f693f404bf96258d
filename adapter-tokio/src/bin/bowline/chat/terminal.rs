//! Where the user types and reads: a line editor on a terminal, plain lines elsewhere.

use std::error::Error;
use std::io::{BufRead, IsTerminal};
use std::thread;

use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::sync::{mpsc, oneshot};

/// The user's side. Lines that are printed here appear above the one that is being typed.
pub(crate) struct Terminal {
    printer: Option<Box<dyn ExternalPrinter + Send>>,
    typed: mpsc::Receiver<Typed>,
}

/// A line that was typed. The next one is read when this is dropped or done: in between the terminal is as it was.
pub(crate) struct Typed {
    pub(crate) line: String,
    done: oneshot::Sender<()>,
}

impl Typed {
    /// Lets the next line be read.
    pub(crate) fn done(self) {
        // It fails when the reader is gone.
        let _ = self.done.send(());
    }
}

impl Terminal {
    pub(crate) fn open() -> Result<Self, Box<dyn Error>> {
        let (typed, lines) = mpsc::channel(1);
        // Threads of their own: what waits for a line cannot be stopped, and must not hold up the end of the program.
        let printer = if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            let mut editor = DefaultEditor::new()?;
            let printer = editor.create_external_printer()?;
            thread::spawn(move || edit(editor, &typed));
            Some(Box::new(printer) as Box<dyn ExternalPrinter + Send>)
        } else {
            thread::spawn(move || read(&typed));
            None
        };
        Ok(Self {
            printer,
            typed: lines,
        })
    }

    /// The next line. None at the end of the input, or when the user interrupts. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Typed> {
        self.typed.recv().await
    }

    /// Prints a line, or several. The text must be harmless.
    pub(crate) fn print(&mut self, text: &str) {
        match &mut self.printer {
            // When it fails there is nobody left to tell.
            Some(printer) => drop(printer.print(format!("{text}\n"))),
            None => println!("{text}"),
        }
    }
}

fn edit(mut editor: DefaultEditor, typed: &mpsc::Sender<Typed>) {
    loop {
        match editor.readline(PROMPT) {
            Ok(line) => {
                // It fails for a line that is the same as the last.
                let _ = editor.add_history_entry(&line);
                if hand_over(line, typed).is_none() {
                    return;
                }
            }
            // The window has another size now.
            Err(ReadlineError::Signal(_)) => {}
            Err(_) => return,
        }
    }
}

fn read(typed: &mpsc::Sender<Typed>) {
    for line in std::io::stdin().lock().lines() {
        if line.ok().and_then(|line| hand_over(line, typed)).is_none() {
            return;
        }
    }
}

/// None when there will be no further line.
fn hand_over(line: String, typed: &mpsc::Sender<Typed>) -> Option<()> {
    let (done, wait) = oneshot::channel();
    typed.blocking_send(Typed { line, done }).ok()?;
    wait.blocking_recv().ok()
}

const PROMPT: &str = "> ";
