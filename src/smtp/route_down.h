/* SPDX-License-Identifier: ISC */
/*
 * route_down: the addresses that refused a connection lately: one bounded list of the process. Used
 * by route.c only. now_s: CLOCK_MONOTONIC. Any thread.
 */
#ifndef SPLIT_ROUTE_DOWN_H
#define SPLIT_ROUTE_DOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ROUTE_DOWN_MAX 256 /* addresses */

/*
 * Is the address to be avoided? After ROUTE_DOWN_S one caller gets false, and has to try the
 * address; all others get true until ROUTE_DOWN_S has passed once more, or the address was removed.
 */
bool route_down_is(const struct sockaddr_storage *sa, socklen_t len, int64_t now_s)
    __attribute__((nonnull));

/* Avoid the address from now on. The oldest entry of a full list is dropped. */
void route_down_add(const struct sockaddr_storage *sa, socklen_t len, int64_t now_s)
    __attribute__((nonnull));

/* Do not avoid the address any more. */
void route_down_remove(const struct sockaddr_storage *sa, socklen_t len) __attribute__((nonnull));

#endif
