"""Gunicorn's gevent worker with this project's rules: who may connect, for how long, and the stop.

What a connection may take is in patience.py, which of them must go in connections.py; settings
are in the package itself.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import gevent
import gevent.event
import gevent.server
import gevent.socket
from greenlet import greenlet
from gunicorn.http import errors, wsgi
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.workers.ggevent import GeventWorker

from webapp.accounts.address_groups import address_group
from webapp.server import TELLING_SECONDS
from webapp.server.chunks import Chunks
from webapp.server.client import Client, Stop
from webapp.server.connections import Connections
from webapp.server.log import connection_lost, report, report_of_loop
from webapp.server.patience import HeadTooLarge
from webapp.server.refusals import BUSY, TOO_SLOW, Refusal, answer, refusal_of
from webapp.server.response import Response

if TYPE_CHECKING:
    from webapp.services import Services

NOTE_SECONDS = 0.25  # how old what others see of this worker may be
IDLE_SECONDS = 0.5  # a connection that waits shorter may have a request on its way
QUICK_SECONDS = 1.0  # gunicorn gives two after its second signal
LIVENESS = frozenset({"/healthz", "/readyz"})
LIVENESS_SECONDS = 2.0
LOOP_SECONDS = 0.025
CONNECTING_SECONDS = 0.05
ACCEPTED_AT_ONCE = 500
MOST_AT_THE_END = 4096  # twice of what the kernel's queue holds
NO_FILES_LEFT = frozenset({errno.EMFILE, errno.ENFILE})
DRAIN_BYTES = 64 * 1024


class _Request(Request):
    """A request's head. No peer with an address is trusted to say how it was forwarded, which
    gunicorn otherwise finds out for each request by its settings."""

    def _peer_is_trusted_proxy(self) -> bool:
        return not isinstance(self.peer_addr, tuple)


class _Parser(RequestParser):
    mesg_class = _Request


class Worker(GeventWorker):
    """The gevent worker; see the module for what it does in its own way."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections = Connections(self.cfg.worker_connections)
        self._stop = Stop()
        self._quick = False
        self._woken: gevent.event.Event | None = None
        self._looked = 0.0

    # -- the worker's life ----------------------------------------------------------------------

    def load_wsgi(self) -> None:
        # Imported here: before the patching it would wait for all greenlets at once.
        from webapp.agent.event_loop import let_several_run

        let_several_run()
        super().load_wsgi()
        vars(self)["wsgi"] = _Application(self.wsgi)
        # Plain attributes: each request asks for some twenty, and gunicorn looks each up by name.
        vars(self.cfg).update({name: each.get() for name, each in self.cfg.settings.items()})

    def run(self) -> None:
        self._woken = gevent.event.Event()
        self._look_after_the_loop()
        vars(gevent.get_hub())["print_exception"] = report_of_loop
        self._connections.share_addresses = not self._services.settings.trusted_proxies
        servers = [_Server(self, listener) for listener in self.sockets]
        for server in servers:
            server.start()
        while self.alive:
            self.notify()
            self._note_state()
            self._woken.wait(NOTE_SECONDS)
        # Whoever had begun to connect when closing.py told the kernel to make no new connections.
        gevent.sleep(CONNECTING_SECONDS)
        for server in servers:
            server.close_behind_the_last()
        self._wind_up()

    def _look_after_the_loop(self) -> None:
        """Notes when the event loop last ran."""

        def looked() -> None:
            self._looked = time.monotonic()

        self._look = gevent.get_hub().loop.check()
        self._look.start(looked)

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """SIGTERM, any number of times: no new connections, and an end when all is answered."""
        super().handle_exit(sig, frame)
        self._wake()

    def handle_quit(self, sig: Any, frame: Any) -> None:  # noqa: ARG002  # gunicorn's signature
        """SIGINT and SIGQUIT: the same at once. A terminal's Ctrl-C comes twice, by itself and
        through gunicorn's first process."""
        self.alive = False
        self._quick = True
        self._wake()

    def _wake(self) -> None:
        """Signals are handled between two steps of whatever runs: only the loop may be told."""
        if self._woken is not None:
            gevent.get_hub().loop.run_callback_threadsafe(self._woken.set)

    def _wind_up(self) -> None:
        """Lets everybody finish, within the grace; then tells those who have not."""
        began = time.monotonic()
        self._stop.since = began
        stopping = self._services.stopping
        stopping.begin()
        for connection in self._connections:
            connection.is_last()
        grace = max(0.0, self.cfg.graceful_timeout - TELLING_SECONDS)
        while self._connections and not self._quick and time.monotonic() - began < grace:
            self.notify()
            self._note_state()
            for idle in self._connections.silent_for(IDLE_SECONDS):
                idle.end()
            gevent.sleep(0.1)
        if self._connections:
            stopping.cut()
            until = time.monotonic() + (QUICK_SECONDS if self._quick else TELLING_SECONDS - 2)
            while self._connections and time.monotonic() < until:
                for idle in self._connections.silent_for(0):
                    idle.end()
                gevent.sleep(0.05)
            for connection in self._connections:
                connection.end()
            gevent.sleep(0.05)

    def _note_state(self) -> None:
        from webapp.web.worker_state import note_state

        application: Any = self.wsgi
        note_state(application.extensions)

    @property
    def _services(self) -> Services:
        """Of the application, which was imported by the worker and not before."""
        from webapp.web.context import EXTENSION

        application: Any = self.wsgi
        return cast("Services", application.extensions[EXTENSION])

    # -- one connection -------------------------------------------------------------------------

    def welcome(self, name: Any, accepted: gevent.socket.socket, address: Any) -> None:
        """Takes a new connection in; runs in the event loop, so nothing here may wait."""
        group = address_group(address[0]) if isinstance(address, tuple) else ""
        client = Client(accepted, group, self.cfg.keepalive, self._connections, self._stop)
        within = self._connections.add(client)
        # Begun here and now: behind a thousand others it could not even ask for a sign of life.
        greenlet(self._attend, gevent.get_hub()).switch(name, client, address, within)

    def make_room(self) -> bool:
        """No file can be opened any more: ends an idle connection; False when none is idle."""
        return self._connections.end_oldest()

    def _attend(self, name: Any, client: Client, address: Any, within: bool) -> None:
        """Everything on one connection, to its end."""
        try:
            if within:
                self._serve(name, client, address)
            else:
                self._serve_liveness(name, client, address)
        except OSError as error:
            connection_lost(error)
        except Exception as error:  # noqa: BLE001  # nobody is left who could catch it
            report(error)
        finally:
            self._connections.remove(client)
            client.close()

    def _serve(self, name: Any, client: Client, address: Any) -> None:
        """One request after the other, as long as the client and the protocol want."""
        parser = _Parser(self.cfg, client, address)
        while True:
            request = self._next(parser, client)
            if request is None:
                return
            if request.path not in LIVENESS and time.monotonic() - self._looked > LOOP_SECONDS:
                # Many have come at once. A caller of /healthz shall not wait for the work of all of
                # them: it waits behind the loop's next look.
                gevent.sleep(0)
            if not self._answer(name, request, client, address):
                self._end_softly(request, client)
                return
            if not self._drained(parser, client):
                self._end_softly(request, client)
                return
            if not client.waited:
                gevent.sleep(0)  # it sent several at once; others shall not wait for all of them
            client.waited, client.request = False, None
            client.patience.next_request()
            self._connections.silent(client)

    def _serve_liveness(self, name: Any, client: Client, address: Any) -> None:
        """There is no place left, but whether the process lives can always be asked."""
        client.patience.shorten(LIVENESS_SECONDS)
        parser = _Parser(self.cfg, client, address)
        request = self._next(parser, client)
        if request is None:
            return
        if request.path in LIVENESS:
            request.force_close()
            self._answer(name, request, client, address)
        else:
            _say(client, answer(BUSY))
        self._end_softly(request, client)

    def _next(self, parser: RequestParser, client: Client) -> Any | None:
        """The next request; None when there is none, or none that can be understood."""
        try:
            request: Any = next(parser)
        except (StopIteration, errors.NoMoreData):
            return None
        except TimeoutError:
            if client.patience.has_begun:
                self._refuse(client, TOO_SLOW, None)
            return None
        except (errors.ParseException, HeadTooLarge) as error:
            self._refuse(client, refusal_of(error), error)
            return None
        self._connections.busy(client)
        client.patience.body()
        client.request = request
        if isinstance(request.body.reader, ChunkedReader):
            request.body.reader = Chunks(request.body.reader)
        return request

    def _answer(self, name: Any, request: Any, client: Client, address: Any) -> bool:
        """Runs the application; False when the connection ends with this request."""
        try:
            return self.handle_request(name, request, client, address)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001  # the recovery of what the application is not
            self._refuse(client, refusal_of(error), error)
            return False

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> bool:
        """As gunicorn does it, with our writer; an end of the worker in it is not swallowed."""
        began = datetime.now()  # noqa: DTZ005  # gunicorn's own log wants the difference of two
        response, environ = wsgi.create(req, sock, addr, listener_name, self.cfg, Response)
        environ["wsgi.multithread"] = True
        self.nr += 1
        if self.nr >= self.max_requests:
            self.alive = False
        if not self.alive:
            response.force_close()
        application: Any = self.wsgi
        answer = application(environ, response.start_response)
        try:
            if isinstance(answer, wsgi.FileWrapper):
                response.write_file(answer)
            else:
                for piece in answer:
                    response.write(piece)
            response.close()
        except OSError:
            raise
        except Exception as error:  # with a head sent no other answer can be
            if not response.headers_sent:
                raise
            report(error)
            sock.end()
            return False
        finally:
            self.log.access(response, req, environ, datetime.now() - began)  # noqa: DTZ005
            if hasattr(answer, "close"):
                answer.close()
        return not response.should_close()

    def _drained(self, parser: RequestParser, client: Client) -> bool:
        """Reads what is left of a body that the application did not want, if it is little."""
        if _is_whole(parser.mesg):
            return True
        client.patience.linger()
        try:
            finish: Any = parser.finish_body  # whose stub knows an older one
            return bool(finish(max_bytes=DRAIN_BYTES))
        except OSError:
            return False

    def _refuse(self, client: Client, refusal: Refusal, error: BaseException | None) -> None:
        _say(client, answer(refusal, error))
        self._linger(client)

    def _end_softly(self, request: Any, client: Client) -> None:
        """With a body still on its way a plain end would be a reset, which takes the answer along
        before it is read (RFC 9112, 9.6)."""
        if not _is_whole(request):
            self._linger(client)

    def _linger(self, client: Client) -> None:
        client.patience.linger()
        self._connections.silent(client)
        try:
            client.shutdown(socket.SHUT_WR)
            while client.recv(DRAIN_BYTES):
                pass
        except OSError:
            return  # it is gone, or does not stop sending


class _Application:
    """The application, whose wish to end a connection gunicorn would not hear."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self.extensions = application.extensions

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *failure: Any) -> Any:
            if ("Connection", "close") in headers:
                environ["gunicorn.socket"].is_last()
            return start_response(status, headers, *failure)

        answer: Iterable[bytes] = self._application(environ, start)
        return answer


class _Server(gevent.server.StreamServer):
    """Accepts for the worker: always, because it is the worker that finds everybody a place."""

    def __init__(self, worker: Worker, listener: Any) -> None:
        self._worker = worker
        self._name = listener.getsockname()
        super().__init__(listener, handle=self.do_handle)
        # With several workers the next one may be another's. Alone, a crowd is taken in quickly:
        # the next one may only be a call of /healthz.
        self.max_accept = 1 if worker.cfg.workers > 1 else ACCEPTED_AT_ONCE

    def do_handle(self, *accepted: Any) -> None:
        client, address = accepted
        try:
            self._worker.welcome(self._name, client, address)
        except BaseException:
            client.close()
            raise

    def close_behind_the_last(self) -> None:
        """Takes in everybody who is connected already, and listens no more.

        Whoever the last process to listen leaves in the kernel's queue is reset, with a request
        that it may have sent. So nothing else is done between the last one and the end.
        """
        self.stop_accepting()
        last: list[Any] = []
        try:
            while len(last) < MOST_AT_THE_END and (accepted := super().do_read()):
                last.append(accepted)
        except OSError as error:
            connection_lost(error)
        self.close()
        for accepted in last:
            # In the loop, as all others: here it would never come back.
            self.loop.run_callback(self.do_handle, *accepted)
        gevent.sleep(0)

    def do_read(self) -> Any:
        try:
            return super().do_read()
        except OSError as error:
            if error.errno in NO_FILES_LEFT and self._worker.make_room():
                return None  # there is room in the loop's next round
            raise


def _is_whole(request: Any) -> bool:
    """Whether the body was read to its end."""
    if request is None:
        return True
    body = request.body
    if body.failed:
        return False
    reader = body.reader
    if isinstance(reader, Chunks):
        return reader.is_whole
    return isinstance(reader, LengthReader) and reader.length == 0


def _say(client: Client, content: bytes) -> None:
    try:
        client.sendall(content)
    except OSError:
        return  # nobody is there to read it
