//! How a connection ends: orderly, or with RST to both sides.

use super::{Connection, Context, milliseconds};
use crate::connect;
use crate::connection_log::{End, Logged, Record};
use fulcrum_config::Protocol;
use std::sync::Arc;
use std::time::Duration;

impl Connection {
    /// Closes both sockets, counts and logs.
    ///
    /// The client's socket resets on close from its first moment, so that a connection cut short never looks
    /// whole, even when the process is killed; only here is that taken back.
    pub(crate) fn finish(mut self, end: End, context: &mut Context<'_>) {
        context.wheel.cancel(self.token.key);
        self.up.release(context.moving);
        self.down.release(context.moving);
        if end == End::Closed {
            connect::reset_on_close(&self.client, false);
        } else if let Some(backend) = &self.backend {
            connect::reset_on_close(backend, true);
        }
        self.count_service(context, |counters| {
            counters.connections.decrement();
            match end {
                End::ClientReset | End::BackendReset => counters.reset.add(1),
                End::Idle | End::HalfClosed | End::MaxDuration => counters.timed_out.add(1),
                End::ConnectFailed => counters.connect_failed.add(1),
                End::BackendDown => counters.closed_backend_down.add(1),
                End::NoBackend => counters.refused_no_backend.add(1),
                End::Refused if self.awaits_header() => counters.refused_proxy_header.add(1),
                End::NoDescriptor
                | End::Closed
                | End::Refused
                | End::Evicted
                | End::ServiceGone
                | End::Error => {}
            }
        });
        self.log(end, context);
        self.leave_target(context);
    }

    fn awaits_header(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.header.is_some())
    }

    fn log(&self, end: End, context: &Context<'_>) {
        let table = self.service.table();
        let Some(gate) = &table.log else { return };
        let logged = gate.log(context.log, context.instant, || self.record(end, context.now));
        if logged == Logged::Dropped {
            self.count_service(context, |counters| counters.log_dropped.add(1));
        }
    }

    fn record(&self, end: End, now: u64) -> Record {
        let port = self.vip.port();
        let tried = self.extra.as_ref().map_or(&[][..], |extra| &extra.tried);
        let backend = self.target.as_ref().or(tried.last()).map(Arc::as_ref);
        let failed = tried.len().saturating_sub(usize::from(self.target.is_none()));
        Record {
            service: self.service.name.clone(),
            protocol: Protocol::Tcp,
            client: self.client_address,
            vip: self.vip,
            backend: backend.map(|backend| (backend.name.clone(), backend.address.socket(port))),
            connect: self.connect_time.map(|time| Duration::from_millis(time.into())),
            duration: Duration::from_millis(
                now.saturating_sub(self.started).min(milliseconds(Duration::MAX)),
            ),
            bytes_in: self.up.bytes,
            bytes_out: self.down.bytes,
            retries: u32::try_from(failed).unwrap_or(u32::MAX),
            end,
        }
    }
}
