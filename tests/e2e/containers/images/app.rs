//! The application of the container tests. It is static, because its images contain little else.
//! Its arguments are steps, which it takes one after another: `app listen 8080 serve exit 42`.

use std::ffi::CString;
use std::io;
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::process::{self, Command};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{self, SigSet, Signal};
use nix::unistd::execve;
use rustix::mount::UnmountFlags;
use rustix::net::{AddressFamily, SocketType, socket, sockopt};
use rustix::process::{Resource, Rlimit};
use rustix::thread::Uid;

/// How long `sleep` lasts. This is longer than any test, but ends at some point if a test does not
/// kill the application.
const LIFETIME: Duration = Duration::from_secs(120);

fn main() {
    let mut app = App::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(step) = arguments.next() {
        app.take(&step, &mut arguments);
    }
}

/// The state that steps leave for later steps.
struct App {
    /// The ports for `serve`, with their listeners while they are open.
    ports: Vec<(u16, Option<TcpListener>)>,
    bound: Vec<UdpSocket>,
    /// The environment for `exec`. std would sort it and merge variables of the same name.
    environment: Vec<CString>,
}

impl Default for App {
    fn default() -> App {
        let pair = |(mut name, value): (std::ffi::OsString, std::ffi::OsString)| {
            name.push("=");
            name.push(value);
            CString::new(name.into_vec()).unwrap()
        };
        App {
            ports: Vec::new(),
            bound: Vec::new(),
            environment: std::env::vars_os().map(pair).collect(),
        }
    }
}

impl App {
    fn take(&mut self, step: &str, arguments: &mut impl Iterator<Item = String>) {
        let mut next = || {
            let argument = arguments.next();
            argument.unwrap_or_else(|| panic!("{step}: needs an argument"))
        };
        match step {
            "say" => println!("{}", next()),
            "listen" => self.ports.push(listen(number(&next()))),
            "listen-locally" => self.ports.push(listen_locally(number(&next()))),
            "listen-ipv6-only" => self.ports.push(listen_ipv6_only(number(&next()))),
            "bind" => self.bound.push(bind(number(&next()))),
            "reserve" => self.ports.push((number(&next()), None)),
            "connect" => drop(TcpStream::connect(("127.0.0.1", number(&next()))).unwrap()),
            "serve" => self.serve(),
            "sleep" => thread::sleep(LIFETIME),
            "daemon" => start_daemon(),
            "detach" => drop(rustix::process::setsid().unwrap()),

            "exit" => process::exit(number(&next())),
            "abort" => process::abort(),
            "raise" => signal::raise(signal(&next())).unwrap(),

            "block" => SigSet::from(signal(&next())).thread_block().unwrap(),
            // This changes the user of only the calling thread, but there is no other thread.
            "as" => rustix::thread::set_thread_uid(Uid::from_raw(number(&next()))).unwrap(),
            "max-processes" => limit_processes(number(&next())),
            "remove" => std::fs::remove_file(next()).unwrap(),
            "unmount" => rustix::mount::unmount(next(), UnmountFlags::DETACH).unwrap(),
            "clear-env" => self.environment.clear(),
            "env" => self.environment.push(CString::new(next()).unwrap()),

            "run" => run(arguments),
            "statuses" => statuses(&arguments.collect::<Vec<_>>()),
            "exec" => self.exec(arguments),
            _ => panic!("{step}: no such step"),
        }
    }

    /// Accepts connections until SIGTERM. SIGUSR1 closes the ports, and SIGUSR2 opens them.
    fn serve(&mut self) {
        let signals: SigSet = [
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGINT,
            Signal::SIGTERM,
        ]
        .into_iter()
        .collect();
        // Block the signals before other threads start. If another thread did not block a signal,
        // the signal could be delivered to that thread and kill the process.
        signals.thread_block().unwrap();
        for (_, listener) in &self.ports {
            listener.iter().for_each(accept);
        }
        println!("serving");
        loop {
            match signals.wait().unwrap() {
                Signal::SIGUSR1 => {
                    for (_, listener) in &mut self.ports {
                        listener.take().iter().for_each(close);
                    }
                    println!("closed");
                }
                Signal::SIGUSR2 => {
                    for port in &mut self.ports {
                        *port = listen(port.0);
                        port.1.iter().for_each(accept);
                    }
                    println!("opened");
                }
                Signal::SIGINT => println!("interrupted"),
                _ => return println!("terminated"),
            }
        }
    }

    /// Executes another program. The program inherits that SIGPIPE is ignored, because the start-up
    /// code of Rust's std ignores it.
    fn exec(&self, arguments: &mut impl Iterator<Item = String>) {
        let arguments = arguments.map(|argument| CString::new(argument).unwrap());
        let arguments: Vec<CString> = arguments.collect();
        let error = execve(&arguments[0], &arguments, &self.environment).unwrap_err();
        panic!("{:?}: {error}", arguments[0]);
    }
}

fn number<T: FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("{text}: not a number"))
}

fn signal(name: &str) -> Signal {
    format!("SIG{name}").parse().unwrap()
}

fn listen(port: u16) -> (u16, Option<TcpListener>) {
    (port, Some(TcpListener::bind(("0.0.0.0", port)).unwrap()))
}

/// Listens on 127.0.0.1.
fn listen_locally(port: u16) -> (u16, Option<TcpListener>) {
    (port, Some(TcpListener::bind(("127.0.0.1", port)).unwrap()))
}

fn listen_ipv6_only(port: u16) -> (u16, Option<TcpListener>) {
    let socket = socket(AddressFamily::INET6, SocketType::STREAM, None).unwrap();
    sockopt::set_ipv6_v6only(&socket, true).unwrap();
    let address = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0);
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 9).unwrap();
    (port, Some(socket.into()))
}

fn bind(port: u16) -> UdpSocket {
    UdpSocket::bind(("0.0.0.0", port)).unwrap()
}

/// Accepts connections on another thread, and prints each.
fn accept(listener: &TcpListener) {
    let listener = listener.try_clone().unwrap();
    thread::spawn(move || {
        while let Ok((_, peer)) = listener.accept() {
            println!("connection from {}", peer.ip());
        }
    });
}

/// Shuts the socket down. To drop the listener would not close the socket, because the accepting
/// thread has a copy.
fn close(listener: &TcpListener) {
    let socket: OwnedFd = listener.try_clone().unwrap().into();
    rustix::net::shutdown(socket, rustix::net::Shutdown::Both).unwrap();
}

/// Starts a process in a new session, so that it outlives the application, and prints its process
/// id.
fn start_daemon() {
    let this = std::env::current_exe().unwrap();
    let child = Command::new(this).args(["detach", "sleep"]).spawn();
    println!("daemon {}", child.unwrap().id());
}

fn limit_processes(number: u64) {
    let limit = Rlimit {
        current: Some(number),
        maximum: Some(number),
    };
    rustix::process::setrlimit(Resource::Nproc, limit).unwrap();
}

/// Runs a program, whose arguments end at `;`, and prints its exit status.
fn run(arguments: &mut impl Iterator<Item = String>) {
    let line: Vec<String> = arguments.take_while(|argument| argument != ";").collect();
    let status = Command::new(&line[0]).args(&line[1..]).status();
    let code = status.and_then(|status| status.code().ok_or(io::ErrorKind::Other.into()));
    println!("exit {}", code.unwrap());
}

/// Checks that the command exits with the status of its application, for every exit status.
fn statuses(command: &[String]) {
    for status in 0..=255 {
        let output = Command::new(&command[0])
            .args(&command[1..])
            .args(["exit", &status.to_string()])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
    }
    println!("all of them");
}
