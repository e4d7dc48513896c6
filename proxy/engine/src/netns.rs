//! Network namespaces: run a few lines in a pod's, come back to our own.
//!
//! A socket belongs for life to the namespace it was created in, so only its creation happens
//! there. A thread never stays: a namespace lives as long as a thread is in it.

use rustix::{
    fs::fstat,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::OnceLock,
};

/// A network namespace, held open.
#[derive(Debug)]
pub struct NetworkNamespace {
    handle: OwnedFd,
    inode: u64,
}

impl NetworkNamespace {
    /// Keeps a duplicate of a descriptor of /proc/PID/ns/net.
    pub fn duplicate(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        Self::from_handle(descriptor.try_clone_to_owned()?)
    }

    fn from_handle(handle: OwnedFd) -> io::Result<Self> {
        let inode = fstat(&handle)?.st_ino;
        Ok(Self { handle, inode })
    }

    /// Tells two namespaces apart.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Runs `work` with the calling thread inside this namespace.
    ///
    /// # Panics
    /// Never; but a thread that cannot come back ends the process, for it would open the next
    /// connection in another pod's namespace.
    pub fn run<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let home = home()?;
        if self.inode == home.inode {
            return work();
        }
        enter(self.handle.as_fd())?;
        let done = work();
        if let Err(error) = enter(home.handle.as_fd()) {
            eprintln!("weft: cannot leave a pod's network namespace: {error}");
            std::process::abort();
        }
        done
    }
}

fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?)
}

/// The process's own namespace, opened at the first use.
fn home() -> io::Result<&'static NetworkNamespace> {
    static HOME: OnceLock<NetworkNamespace> = OnceLock::new();
    if let Some(home) = HOME.get() {
        return Ok(home);
    }
    let opened = NetworkNamespace::from_handle(File::open("/proc/self/ns/net")?.into())?;
    Ok(HOME.get_or_init(|| opened))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_is_run_in_without_privileges() {
        let own = File::open("/proc/thread-self/ns/net").unwrap();
        let namespace = NetworkNamespace::duplicate(own.as_fd()).unwrap();
        assert_eq!(namespace.run(|| Ok(7)).unwrap(), 7);
    }
}
