//! `metrics`: the figures of all stores as a page for Prometheus, once or over HTTP.

mod page;

use crate::{
    Outcome,
    context::Context,
    failure::{Code, Failure, printable},
    survey::Survey,
    users,
};
use page::Page;
use std::{
    io::Write,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    process::ExitCode,
};
use tiny_http::{Header, Method, Request, Response, Server};

const EXAMPLES: &str = "\
Examples:
  ndshm metrics > page.tmp && mv page.tmp /var/lib/node_exporter/ndshm.prom
  ndshm metrics --all-users --listen 127.0.0.1:9897";

/// Print the figures of all stores for Prometheus, or serve them over HTTP
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// These stores only: directories, or names in the root
    stores: Vec<PathBuf>,
    /// Serve the page at http://ADDRESS:PORT/metrics until this process is ended; port 0 takes a
    /// free one, and standard error says which
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// One sum for each root, without a figure for each store: where stores come and go, Prometheus
    /// keeps a series for each name
    #[arg(long)]
    totals: bool,
    /// The stores in the default roots of all users, for root only
    #[arg(long, conflicts_with = "stores")]
    all_users: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    if context.is_json {
        return Err(Failure::usage(
            "metrics are a page for Prometheus: ndshm ls --json has the same figures as JSON",
        ));
    }
    match &args.listen {
        Some(address) => serve(context, args, address),
        None => {
            let mut out = context.out();
            out.write_all(look(context, args)?.as_bytes())?;
            out.flush()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The page of this moment.
fn look(context: &Context, args: &Args) -> Result<String, Failure> {
    let began = std::time::Instant::now();
    let mut page = Page::new(args.totals)?;
    if args.all_users {
        for answer in users::ask_all(context, &["ls"])? {
            match answer.value() {
                Some(survey) => page.add(answer.user(), &survey),
                None => page.add_failure(),
            }
        }
    } else {
        let stores = context.choose_stores(&args.stores)?;
        let survey = Survey::look(&context.root_of(&stores), &stores)?.to_json();
        page.add(None, &survey);
    }
    page.finish(began.elapsed())
}

fn serve(context: &Context, args: &Args, address: &str) -> Outcome {
    let refused =
        |reason: String| Failure::new(Code::Failed, format!("--listen {address}: {reason}"));
    let addresses: Vec<SocketAddr> = address
        .to_socket_addrs()
        .map_err(|_| {
            Failure::usage(format!(
                "--listen {address}: an address and a port are needed, as in 127.0.0.1:9897"
            ))
        })?
        .collect();
    let server = Server::http(&addresses[..]).map_err(|error| refused(error.to_string()))?;
    let bound = server.server_addr();
    writeln!(anstream::stderr(), "ndshm: serving http://{bound}/metrics")?;
    loop {
        let request = server.recv()?;
        // The reader of an answer may be gone.
        let _ = answer(request, || look(context, args));
    }
}

fn answer(request: Request, page: impl FnOnce() -> Result<String, Failure>) -> std::io::Result<()> {
    let path = request.url().split('?').next().unwrap_or_default();
    let text = |status: u16, text: String| {
        let plain = Header::from_bytes("Content-Type", page::CONTENT_TYPE);
        let mut response = Response::from_string(text).with_status_code(status);
        if let Ok(header) = plain {
            response.add_header(header);
        }
        response
    };
    let response = match (request.method(), path) {
        (Method::Get | Method::Head, "/metrics") => match page() {
            Ok(page) => text(200, page),
            Err(failure) => text(500, format!("{}\n", printable(&failure.to_string()))),
        },
        (Method::Get | Method::Head, "/") => text(200, "The page is at /metrics\n".into()),
        (Method::Get | Method::Head, _) => text(404, "The page is at /metrics\n".into()),
        _ => text(405, "The page is read by GET\n".into()),
    };
    request.respond(response)
}
