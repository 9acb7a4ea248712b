/* SPDX-License-Identifier: ISC */
/*
 * smtp_peer: an SMTP or LMTP server for tests that misbehaves on request: each fault of its script
 * happens once, at a certain reply. Listens on 127.0.0.1 (or a unix socket), one thread per
 * connection, records what it was told. For check programs only.
 */
#ifndef SPLIT_TESTS_SMTP_PEER_H
#define SPLIT_TESTS_SMTP_PEER_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum peer_step {
    PEER_GREETING,
    PEER_HELLO, /* EHLO, LHLO */
    PEER_HELO,
    PEER_RSET,
    PEER_MAIL,
    PEER_RCPT,
    PEER_DATA,
    PEER_BODY, /* no reply: happens when 64 kB of content, or its end, have come */
    PEER_DOT,  /* with LMTP: one for each recipient */
    PEER_QUIT,
    PEER_STEPS
};

enum peer_action {
    PEER_REPLY,     /* this reply instead of the usual one (text with CRLFs) */
    PEER_REPLY_BYE, /* ... and close */
    PEER_GARBAGE,   /* a line that is no reply */
    PEER_LONG_LINE, /* 300 kB of a reply without line end */
    PEER_HALF_LINE, /* half a reply line, then silence */
    PEER_SILENCE,
    PEER_SLOW, /* the usual reply, a byte every 50 ms */
    PEER_RESET,
    PEER_CLOSE,
};

struct peer_fault {
    enum peer_step step;
    unsigned nth; /* 0: the first time that this step is reached, over all connections */
    enum peer_action action;
    const char *reply;
};

#define PEER_ALWAYS 0xffffffffU /* nth: every time */

struct peer_script {
    bool is_lmtp;
    const char *extensions; /* each with CRLF: "PIPELINING\r\nDSN\r\n"; NULL: PIPELINING alone */
    const struct peer_fault *faults;
    size_t fault_count;
    const char *unix_path; /* listen there instead */
    uint16_t port;         /* 0: any */
};

struct peer;

/* script and what it points to are borrowed until peer_stop(). */
struct peer *peer_start(const struct peer_script *script);
uint16_t peer_port(const struct peer *p);

/* Cut all connections, join all threads; what was recorded can be looked at until peer_free(). */
void peer_stop(struct peer *p);
void peer_free(struct peer *p);

/* Command lines in the order of their arrival, each with '\n' instead of CRLF. */
const char *peer_commands(struct peer *p);

/* The last complete content, dots removed, without the final dot. */
const struct buf *peer_content(struct peer *p);

unsigned peer_connections(struct peer *p);

/* Messages that were answered with 2xx (for at least one recipient), so far. */
unsigned peer_messages(struct peer *p);

/* How often the step was reached so far. */
unsigned peer_count(struct peer *p, enum peer_step step);

/* Wait (at most 10 s) until the step was reached n times; false: it was not. */
bool peer_wait(struct peer *p, enum peer_step step, unsigned n);

#endif
