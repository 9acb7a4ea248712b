/* SPDX-License-Identifier: ISC */
/*
 * smtp_peer: an SMTP or LMTP server for check programs that misbehaves on request. Each fault of
 * its script happens once, at a certain reply. It listens on 127.0.0.1 or a unix socket, has one
 * thread for each connection, and records the commands and the content.
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
    PEER_BODY, /* reached when 64 kB of content, or its end, were read; usually there is no reply */
    PEER_DOT,  /* with LMTP: one for each recipient */
    PEER_QUIT,
    PEER_STEPS
};

enum peer_action {
    PEER_REPLY,     /* this reply instead of the usual one (text with CRLFs) */
    PEER_REPLY_BYE, /* this reply, then close */
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
    unsigned nth; /* 0: the first time that the step is reached, on all connections together */
    enum peer_action action;
    const char *reply;
};

#define PEER_ALWAYS 0xffffffffU /* nth: every time */

struct peer_script {
    bool is_lmtp;
    const char *extensions; /* each with CRLF: "PIPELINING\r\nDSN\r\n"; NULL: PIPELINING alone */
    const struct peer_fault *faults;
    size_t fault_count;
    const char *unix_path; /* not NULL: listen at this path instead */
    uint16_t port;         /* 0: any */
};

struct peer;

/* Start a server. The script, and all that it points to, is borrowed until peer_stop(). */
struct peer *peer_start(const struct peer_script *script);
uint16_t peer_port(const struct peer *p);

/* Cut all connections, and join all threads. The records exist until peer_free(). */
void peer_stop(struct peer *p);
void peer_free(struct peer *p);

/* Command lines in the order of their arrival, each with '\n' instead of CRLF. */
const char *peer_commands(struct peer *p);

/* The last complete content, without dot stuffing and without the final dot. */
const struct buf *peer_content(struct peer *p);

unsigned peer_connections(struct peer *p);

/* The number of messages that got 2xx (for at least one recipient) so far. */
unsigned peer_messages(struct peer *p);

/* The number of times that the step was reached so far. */
unsigned peer_count(struct peer *p, enum peer_step step);

/* Wait until the step was reached n times. False: that did not happen within 10 s. */
bool peer_wait(struct peer *p, enum peer_step step, unsigned n);

#endif
