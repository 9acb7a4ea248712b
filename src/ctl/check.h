/* SPDX-License-Identifier: ISC */
/*
 * check: the parts of `splitctl check`. Each part reports its findings. A part with a parameter `s`
 * opens files, and finds what the user of the calling process may do: if service_is_other(), the
 * caller has to become the user of that service first. One thread.
 */
#ifndef SPLIT_CTL_CHECK_H
#define SPLIT_CTL_CHECK_H

#include "config/config.h"
#include "ctl/findings.h"
#include "ctl/service.h"
#include "queue/queue_reader.h"

/* Check what splitmilter needs: tables, socket, pid file (check_milter.c). */
void check_milter(struct findings *f, const struct config *config, const struct service *s)
    __attribute__((nonnull));

/* Check what splitrelay needs: spool, keys and passwords, destinations, listeners
 * (check_relay.c). */
void check_relay(struct findings *f, const struct config *config, const struct service *s)
    __attribute__((nonnull));

/* Check the tables of the milter, or of a listener (check_tables.c). */
void check_tables(struct findings *f, const struct config *config) __attribute__((nonnull));
void check_listener_tables(struct findings *f, const struct config *config,
                           const struct config_listener *l) __attribute__((nonnull));

/* Check the spool and its content (check_spool.c). */
void check_spool(struct findings *f, const struct config *config, const struct service *s)
    __attribute__((nonnull));

/* Check a PostgreSQL that holds the copies: passwords, replication, nodes. reader: of the queue;
 * NULL if the queue cannot be read (check_database.c). */
void check_database(struct findings *f, const struct config *config, const struct service *s,
                    struct queue_reader *reader) __attribute__((nonnull(1, 2, 3)));

/* check_ports() reports addresses that two sockets of the configuration share.
 * check_socket_directory() checks that the daemon can make files in the directory of a unix socket
 * or pid file; option: its name, for the finding. In check_sockets.c. */
void check_ports(struct findings *f, const struct config *config) __attribute__((nonnull));
void check_socket_directory(struct findings *f, const struct service *s, const char *option,
                            const char *path) __attribute__((nonnull));

/* Check that the daemon may read the file of a table, as check_reach(). spec: the table as in the
 * configuration; a table without a file is not checked. */
void check_table_reach(struct findings *f, const struct service *s, const char *spec)
    __attribute__((nonnull));

/* Check that the daemon can listen on these endpoints. For a unix socket, its directory is checked.
 * An inet endpoint is opened for a moment, if the daemon belongs to this machine and does not run,
 * and no socket unit of systemd listens for it. option: its name, for the finding. */
void check_listen(struct findings *f, const struct service *s, const char *option,
                  const struct endpoint *endpoints, size_t count) __attribute__((nonnull(1, 2, 3)));

/* Report settings of Postfix that do not fit the configuration (check_postfix.c). */
void check_postfix(struct findings *f, const struct config *config) __attribute__((nonnull));

/* Check with service_allows() that the sandbox of the daemon's unit lets the daemon read (with
 * to_write: write) this path. Returns false if it does not, after an error that begins with `what`
 * was reported. Owner and mode of the file are not examined. */
bool check_reach(struct findings *f, const struct service *s, const char *what, const char *path,
                 bool to_write) __attribute__((nonnull));

#endif
