//! Plain TCP from outside the mesh, steered to us on its way to an app.

use crate::{
    connection::{Connection, Failure, Flag},
    description::{Description, Direction, End},
    last_hop::{admit, dial, known_client},
    pod::Pod,
    relay,
    sockets::reset_on_close,
    state::{State, Workload},
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
        Some((state, workload)) => {
            is_apps(app, &workload).and_then(|()| admit(&state, &workload, None, source.ip(), app))
        }
    };
    let done = match admitted {
        Ok(()) => hand_on(pod, client, source, app, &connection).await,
        refused => refused,
    };
    if done.is_err() {
        reset_on_close(client);
    }
    connection.end(done);
}

fn describe(pod: &Pod, source: SocketAddr, app: SocketAddr, mesh: Option<&(Arc<State>, Arc<Workload>)>) -> Description {
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
    connection: &Connection,
) -> Result<(), Failure> {
    let server = dial(pod, app, source.ip()).await?;
    connection.established();
    let done = relay::between(client, &server, connection).await;
    done.inspect_err(|_| reset_on_close(&server))
        .map_err(|broken| Failure::new(Flag::None, broken.to_string()))
}
