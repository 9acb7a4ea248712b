# SPDX-License-Identifier: ISC
"""The rig of the integration tests: private Postfix instances, servers that record, clients that send exactly the given words.

    import rig

    def test_something(r):                  # r: a fresh rig.Rig, which is cleaned up afterwards in any case
        sink = rig.Sink(r, "mailbox")
        pf = rig.Postfix(r, "front", {"relayhost": sink.bracketed})
        pf.start()
        rig.send(pf.address, "s@sender.test", [("a@example.com", "NOTIFY=NEVER")], b"Subject: x\r\n\r\ntext\r\n")
        txn = sink.wait(1)[0]
        assert txn.rcpts[0].params == ["NOTIFY=NEVER"]

    if __name__ == "__main__":
        rig.main()                          # runs all test_* functions; exit 0, 1, or 77 when everything was skipped

If the test file defines `setup(r)`, that runs once, and each test gets its result instead of r.

Environment: SPLIT_BUILD_DIR (the directory of the programs; make check sets it), SPLIT_TIME_FACTOR (all waits are multiplied
by it; sanitizer runs set it), SPLIT_KEEP=1 (leave the directory of a failed test), TMPDIR.

The tests need root, because postfix(1) does. For an ordinary user the rig runs sudo, which must not ask for a password;
otherwise the tests are skipped.
"""

from . import libpq, mariadb, queue, table_outages, tables  # noqa: F401
from .base import (  # noqa: F401
    Failure,
    Rig,
    Session,
    Skip,
    TIME_FACTOR,
    main,
    need_root,
    need_tools,
    wait_for,
)
from .certificates import Authority, Certificate  # noqa: F401
from .chaos import Chaos  # noqa: F401
from .client import SmtpClient, SmtpError, Reply, quote_message, send  # noqa: F401
from .daemons import Daemon, instrumented, program, run_splitctl, sanitizer_environment, start_splitmilter, start_splitrelay  # noqa: F401
from .container import Composition, Images, instructions  # noqa: F401
from .dns import Dns  # noqa: F401
from .duplicator import Duplicator  # noqa: F401
from .exim import Exim, exim_program  # noqa: F401
from .filter import Filter  # noqa: F401
from .fleet import Fleet  # noqa: F401
from .gate import Gate  # noqa: F401
from .guide import Guide, MachineGuide, blocks, commands  # noqa: F401
from .jail import Jail, dated_back  # noqa: F401
from .machine import Elsewhere, Machine  # noqa: F401
from .mariadb import FakeMariaDb, MariaDb  # noqa: F401
from .own_milter import OwnMilter  # noqa: F401
from .patroni import Patroni  # noqa: F401
from .postfix import Postfix, date_back, environment  # noqa: F401
from .postgres import Postgres, pair as postgres_pair  # noqa: F401
from .postmulti import MultiPostfix, PostMulti  # noqa: F401
from .sandbox import Sandbox  # noqa: F401
from .sasl import auth_plain, sasl_directory  # noqa: F401
from .sendmail import Sendmail, sendmail_root  # noqa: F401
from .sendmail_tower import SendmailTower, setup_sendmail  # noqa: F401
from .sink import CLOSE, HANG, RESET, Raw, Rcpt, Sink, Transaction, split_trace  # noqa: F401
from .slapd import Slapd  # noqa: F401
from .socketmap import SocketMap  # noqa: F401
from .tap import Tap  # noqa: F401
from .tools import SmtpSink, Strace, Tracer, fill_disk, smtp_source  # noqa: F401
from .tower import Tower  # noqa: F401
from .wire import Cable, Wire  # noqa: F401
