/* SPDX-License-Identifier: ISC */
/*
 * check: the parts of `splitctl check`. Each reports what it finds. Those that take a service open
 * files, and are to be called as its user (service.h). One thread.
 */
#ifndef SPLIT_CTL_CHECK_H
#define SPLIT_CTL_CHECK_H

#include "config/config.h"
#include "ctl/findings.h"
#include "ctl/service.h"

/* What splitmilter needs: tables, socket, pid file (check_milter.c). */
void check_milter(struct findings *f, const struct config *config, const struct service *s)
    __attribute__((nonnull));

/* What splitrelay needs: spool, keys and passwords, destinations, listeners (check_relay.c). */
void check_relay(struct findings *f, const struct config *config, const struct service *s)
    __attribute__((nonnull));

/* The tables of the milter, or of a listener (check_tables.c). */
void check_tables(struct findings *f, const struct config *config) __attribute__((nonnull));
void check_listener_tables(struct findings *f, const struct config *config,
                           const struct config_listener *l) __attribute__((nonnull));

/* The spool and what is in it (check_spool.c). */
void check_spool(struct findings *f, const struct config *config, const struct service *s)
    __attribute__((nonnull));

/* Whom the daemons listen for: addresses that are used twice; directories of unix sockets
 * (check_sockets.c). */
void check_ports(struct findings *f, const struct config *config) __attribute__((nonnull));
void check_socket_directory(struct findings *f, const struct service *s, const char *option,
                            const char *path) __attribute__((nonnull));

/* check_reach() for the file of a table, if it has one. */
void check_table_reach(struct findings *f, const struct service *s, const char *spec)
    __attribute__((nonnull));

/* Could a daemon that does not run listen there (unix sockets: its directory)? */
void check_listen(struct findings *f, const struct service *s, const char *option,
                  const struct endpoint *endpoints, size_t count) __attribute__((nonnull(1, 2, 3)));

/* What Postfix has that does not fit (check_postfix.c). */
void check_postfix(struct findings *f, const struct config *config) __attribute__((nonnull));

/* May the daemon read, or with to_write write, this path? By its unit only (see service_allows());
 * reports what it may not. */
bool check_reach(struct findings *f, const struct service *s, const char *what, const char *path,
                 bool to_write) __attribute__((nonnull));

#endif
