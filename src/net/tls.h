/* SPDX-License-Identifier: ISC */
/*
 * tls: TLS on a stream (stream.h), by OpenSSL: TLS 1.2 or newer, no compression, no renegotiation.
 * A context holds what many connections share (certificates, trust anchors, sessions to resume). It
 * is created when a configuration is loaded, is immutable, and may be used by any number of
 * threads. A handshake reports the trust in the peer; the caller decides whether this trust
 * suffices. A process that uses TLS ignores SIGPIPE, because OpenSSL writes with write(2). In a
 * build without OpenSSL no context can be made.
 */
#ifndef SPLIT_TLS_H
#define SPLIT_TLS_H

#include "base/err.h"
#include "base/string_list.h"
#include "net/stream.h"

#include <stdbool.h>

#define TLS_FINGERPRINT_SIZE 96 /* "AB:CD:...", 32 bytes */

/* The trust in a peer, with Postfix's terms. */
enum tls_trust {
    TLS_ANONYMOUS, /* no certificate */
    TLS_UNTRUSTED, /* not signed by a trusted authority, not valid now, or no authority is trusted
                    */
    TLS_TRUSTED,   /* signed by a trusted authority */
    TLS_VERIFIED,  /* trusted, and for an expected name; or its fingerprint is listed */
};

struct tls_info {
    enum tls_trust trust;
    bool is_resumed;
    char protocol[16];        /* "TLSv1.3" */
    char cipher[64];          /* "TLS_AES_256_GCM_SHA384" */
    int bits, algorithm_bits; /* the results of SSL_get_cipher_bits(3) */
    char
        subject[256]; /* of the peer's certificate: its common name, printable; "" if it has none */
    char fingerprint[TLS_FINGERPRINT_SIZE]; /* SHA-256 of the peer's certificate, "" without one */
    char why[160]; /* why the trust is not TLS_VERIFIED: "certificate has expired" */
};

/* The trust as Postfix logs it: "Anonymous", "Untrusted", "Trusted", "Verified". */
const char *tls_trust_name(enum tls_trust trust);

/* The line that Postfix logs: "Verified TLS connection established to PEER: TLSv1.3 with cipher X
 * (256/256 bits)". to: "to" for a client, "from" for a server. */
void tls_format_info(const struct tls_info *info, const char *to, const char *peer, char *out,
                     size_t size) __attribute__((nonnull));

struct tls_context;

/* The parameters of a context; "" stands for no file. Files are PEM, and are read when the context
 * is created. */
struct tls_options {
    const char *cert_file;                  /* the chain, beginning with the own certificate */
    const char *key_file;                   /* "": the key is in cert_file */
    const char *ca_file;                    /* the trusted authorities */
    bool system_ca;                         /* without ca_file: trust the system's authorities */
    bool asks;                              /* a server: ask clients for a certificate */
    const struct string_list *fingerprints; /* of trusted peers, as in struct tls_info; borrowed
                                                  for the context's life */
};

/* Make a context for the client's side of connections, or for the server's side. NULL with `err`,
 * which has the file and its fault. */
struct tls_context *tls_client_new(const struct tls_options *o, struct err *err)
    __attribute__((nonnull, warn_unused_result));
struct tls_context *tls_server_new(const struct tls_options *o, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Free the context, after its last connection has ended. */
void tls_context_free(struct tls_context *c);

/* The server that a client expects. */
struct tls_peer {
    const char *name; /* a host name, or an address without brackets; for SNI */
    const struct string_list
        *names; /* allowed instead of `name`, if any; ".example.com" stands for all subdomains */
    const char *place;     /* the server's address; a session is resumed only at the same place */
    enum tls_trust wanted; /* with less trust the connection is closed, and no session is kept */
};

/*
 * Make the handshake as the client, or as the server, within timeout_ms. Afterwards the stream is
 * encrypted, input from before is discarded, and *info describes the connection. On failure `err`
 * has the reason, and the stream cannot be used any more.
 */
enum stream_status tls_connect(struct stream *s, struct tls_context *c, const struct tls_peer *peer,
                               unsigned timeout_ms, struct tls_info *info, struct err *err)
    __attribute__((nonnull, warn_unused_result));
enum stream_status tls_accept(struct stream *s, struct tls_context *c, unsigned timeout_ms,
                              struct tls_info *info, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Release what OpenSSL keeps for the calling thread. A detached thread that has called a function
 * above calls this one before other threads learn that it is done. Otherwise the memory would be
 * released only when the thread ends, and the process may be ending at the same time. */
void tls_thread_end(void);

#endif
