//! Plain TCP from outside the mesh, steered to us on its way to an app.

use crate::{
    connection::{Connection, Failure, Flag},
    description::{Description, Direction, End},
    docket::{Arrival, Guard},
    last_hop::{Mesh, admit, dial, known_client},
    pod::Pod,
    relay,
    sockets::reset_on_close,
    state::Workload,
    wire::{is_proxy_port, plain_address},
    worker::Context,
};
use std::{net::SocketAddr, rc::Rc, sync::Arc};
use tokio::net::TcpStream;

/// Carries the connection to the app if policy allows it without an identity; else resets it.
pub async fn serve(context: Rc<Context>, pod: Arc<Pod>, client: TcpStream) {
    let aborted = pod.aborted.clone();
    tokio::select! {
        () = carry(&context, &pod, &client) => {}
        () = aborted.cancelled() => reset_on_close(&client),
    }
}

async fn carry(context: &Context, pod: &Pod, client: &TcpStream) {
    let (Ok(source), Ok(app)) = (client.peer_addr(), client.local_addr()) else {
        return;
    };
    let (source, app) = (plain_address(source), plain_address(app));
    let mesh = context.shared.mesh_with(pod).await;
    let connection = Connection::open(&context.ledger, describe(pod, source, app, mesh.as_ref()));
    let admitted = match mesh {
        None => Err(Failure::new(Flag::Connect, "discovery does not know this pod yet")),
        Some(mesh) => {
            let arrival = Arrival {
                source: None,
                source_ip: source.ip(),
                destination: app,
            };
            is_apps(app, &mesh.1).and_then(|()| admit(context, pod, &mesh, arrival))
        }
    };
    let done = match admitted {
        Ok(guard) => hand_on(pod, client, source, app, guard, &connection).await,
        Err(refused) => Err(refused),
    };
    if done.is_err() {
        reset_on_close(client);
    }
    connection.end(done);
}

fn describe(pod: &Pod, source: SocketAddr, app: SocketAddr, mesh: Option<&Mesh>) -> Description {
    Description {
        direction: Direction::Inbound,
        pod: pod.uid.clone(),
        source: End {
            address: source,
            workload: mesh.and_then(|(state, _)| known_client(state, source.ip(), None)),
            identity: None,
        },
        destination: End {
            address: app,
            workload: mesh.map(|(_, own)| own.clone()),
            identity: None,
        },
        service: mesh.and_then(|(state, own)| state.service_behind(own, app.port()).cloned()),
        hbone_target: None,
    }
}

/// The local address of a steered connection is where the client wanted to go.
fn is_apps(app: SocketAddr, workload: &Workload) -> Result<(), Failure> {
    if is_proxy_port(app.port()) {
        return Err(Failure::new(
            Flag::Deny,
            format!("port {} is not a port of the app", app.port()),
        ));
    }
    if !workload.addresses.contains(&app.ip()) {
        return Err(Failure::new(
            Flag::Deny,
            format!("{} is not an address of this pod", app.ip()),
        ));
    }
    Ok(())
}

async fn hand_on(
    pod: &Pod,
    client: &TcpStream,
    source: SocketAddr,
    app: SocketAddr,
    mut guard: Guard,
    connection: &Connection,
) -> Result<(), Failure> {
    let server = dial(pod, app, source.ip(), &mut guard).await?;
    connection.established();
    let done = tokio::select! {
        biased;
        cut = guard.cut() => Err(cut),
        done = relay::between(client, &server, connection) => {
            done.map_err(|broken| Failure::new(Flag::None, broken.to_string()))
        }
    };
    done.inspect_err(|_| reset_on_close(&server))
}
