/* SPDX-License-Identifier: ISC */
/*
 * http_guard: slows down clients that guess passwords. After HTTP_GUARD_WRONG_MAX wrong passwords
 * within a minute, an address has to wait until that minute is over: its passwords are not looked
 * at meanwhile, neither right nor wrong ones. After HTTP_GUARD_ALL_MAX wrong passwords of all
 * addresses together, all addresses have to wait, except those that gave a right one within the
 * last hour.
 *
 * A guard starts zeroed, and has nothing to release. The caller has a lock around all calls.
 */
#ifndef SPLIT_HTTP_GUARD_H
#define SPLIT_HTTP_GUARD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define HTTP_GUARD_WRONG_MAX 10
#define HTTP_GUARD_ALL_MAX 100
#define HTTP_GUARD_PERIOD_MS 60000
#define HTTP_GUARD_KNOWN_MS 3600000
#define HTTP_GUARD_ADDRESSES 256 /* the addresses that are remembered; the longest unused goes */

struct http_guard {
    struct http_guard_address {
        char address[INET6_ADDRSTRLEN]; /* "": free */
        unsigned wrong;                 /* passwords, since began_ms */
        int64_t began_ms, used_ms, right_ms;
    } addresses[HTTP_GUARD_ADDRESSES];
    unsigned wrong; /* of all addresses, since began_ms */
    int64_t began_ms;
    uint64_t refused; /* http_guard_take_refused() */
};

/* Write the address as the guard counts it: that of IPv4, the /64 network of IPv6, or "unix" (also
 * for NULL). */
void http_guard_address(const struct sockaddr *sa, char out[INET6_ADDRSTRLEN])
    __attribute__((nonnull(2)));

/* Return for how many seconds the address has to wait; 0: its password may be looked at. An address
 * that has to wait counts as refused. now_ms: CLOCK_MONOTONIC. */
unsigned http_guard_wait_s(struct http_guard *g, const char *address, int64_t now_ms)
    __attribute__((nonnull));

/* Note that a password was right or wrong. Returns true if the address, or all addresses, have to
 * wait from now on. */
bool http_guard_note(struct http_guard *g, const char *address, bool is_right, int64_t now_ms)
    __attribute__((nonnull));

/* Return the number of refusals since the last call, if nobody has to wait any more; otherwise 0.
 */
uint64_t http_guard_take_refused(struct http_guard *g, int64_t now_ms) __attribute__((nonnull));

#endif
