/* SPDX-License-Identifier: ISC */
/*
 * postfix: one Postfix instance as postconf(1) reads it, without the part that setup-postfix has
 * added (marked_text.h). It is read once and does not change. One thread.
 */
#ifndef SPLIT_CTL_POSTFIX_H
#define SPLIT_CTL_POSTFIX_H

#include "base/err.h"
#include "ctl/setup/marked_text.h"

#include <stdbool.h>
#include <stddef.h>

/* A line of master.cf. */
struct postfix_service {
    char *name, *type, *is_private, *unprivileged, *chroot, *wakeup, *maxproc, *command;
    char *arguments; /* as `postconf -M' prints them: "-o name=value -o { name = value }" */
};

struct postfix_parameter {
    char *name, *value;
};

struct postfix {
    char *directory;           /* its configuration directory */
    char *main_cf, *master_cf; /* their texts without our part */
    char *main_disk;           /* main.cf as it is on disk */
    enum marked_state main_state, master_state;
    /* Sorted by name; private. raw: values as they are written; expanded: with $names replaced;
     * own: parameters of services, "smtp/inet/smtpd_milters". */
    struct postfix_parameter *raw, *expanded, *own;
    size_t raw_count, expanded_count, own_count;
    struct postfix_service *services;
    size_t service_count;
};

/* Read the instance. NULL with `err`: main.cf is missing, our part is damaged, or postconf(1)
 * failed. */
struct postfix *postfix_open(const char *directory, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* As postfix_open(), but with our part, as the instance works now: main_cf and master_cf are the
 * texts on disk. */
struct postfix *postfix_open_whole(const char *directory, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Make an instance of texts without our part. directory: the configuration directory that the
 * instance has or will have; it is not read. NULL with `err`: postconf(1) failed. */
struct postfix *postfix_from_text(const char *directory, const char *main_cf, const char *master_cf,
                                  struct err *err) __attribute__((nonnull, warn_unused_result));

/* Free the instance; NULL is legal. */
void postfix_free(struct postfix *p);

/* The value of a parameter, or its default if main.cf does not set it; "" if Postfix does not know
 * it. The second function also replaces $names. */
const char *postfix_get(const struct postfix *p, const char *name)
    __attribute__((nonnull, returns_nonnull));
const char *postfix_get_expanded(const struct postfix *p, const char *name)
    __attribute__((nonnull, returns_nonnull));

/* Return true if this version of Postfix has the parameter. */
bool postfix_knows(const struct postfix *p, const char *name) __attribute__((nonnull));

/* The value of a parameter for this service, with $names replaced: that of the service's own
 * option, or else that of main.cf. */
const char *postfix_get_for(const struct postfix *p, const struct postfix_service *s,
                            const char *name) __attribute__((nonnull, returns_nonnull));

/* The service "name/type", or NULL. */
const struct postfix_service *postfix_service(const struct postfix *p, const char *name,
                                              const char *type) __attribute__((nonnull));

/* Return true if the service runs in a chroot jail. Its line in master.cf decides, and for "-" in
 * that line compatibility_level. */
bool postfix_is_chrooted(const struct postfix *p, const struct postfix_service *s)
    __attribute__((nonnull));

/* Return true if the service has "-o name=...". *value_out is the value, for the caller to free, or
 * NULL. value_out may be NULL. */
bool postfix_service_option(const struct postfix_service *s, const char *name, char **value_out)
    __attribute__((nonnull(1, 2)));

/* Return true if the service accepts mail from the network: smtpd(8), or postscreen(8) before
 * it. */
bool postfix_takes_mail(const struct postfix_service *s) __attribute__((nonnull));

/* The default configuration directory of postconf(1), for the caller to free. NULL with `err`. */
char *postfix_default_directory(struct err *err) __attribute__((warn_unused_result));

/* The number of messages in one queue ("deferred") below this queue directory, counted as files:
 * for an instance that does not run and cannot be asked. */
unsigned long postfix_count_messages(const char *queue_directory, const char *queue)
    __attribute__((nonnull, warn_unused_result));

/* Return true if master(8) runs for this configuration directory. */
bool postfix_is_running(const char *directory) __attribute__((nonnull, warn_unused_result));

#endif
