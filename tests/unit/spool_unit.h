/* SPDX-License-Identifier: ISC */
/* spool_unit: what the check programs of the spool share: a directory below /tmp, messages. */
#ifndef SPLIT_TESTS_SPOOL_UNIT_H
#define SPLIT_TESTS_SPOOL_UNIT_H

#include "queue/queue.h"

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline int spool_unit_remove_one(const char *path, const struct stat *st, int type,
                                        struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void spool_unit_remove(const char *directory)
{
    nftw(directory, spool_unit_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Regular files below a directory. */
static size_t spool_unit_found;
static inline int spool_unit_count_one(const char *path, const struct stat *st, int type,
                                       struct FTW *ftw)
{
    (void)path;
    (void)st;
    (void)ftw;
    spool_unit_found += type == FTW_F || type == FTW_SL;
    return 0;
}

static inline size_t spool_unit_count(const char *directory, const char *below)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", directory, below);
    spool_unit_found = 0;
    nftw(path, spool_unit_count_one, 16, FTW_PHYS);
    return spool_unit_found;
}

static inline struct queue_message spool_unit_message(void)
{
    return (struct queue_message){.sender = (char *)"s@x.test",
                                  .client_name = (char *)"c.test",
                                  .client_addr = (char *)"192.0.2.1",
                                  .helo = (char *)"helo.test",
                                  .protocol = (char *)"ESMTP",
                                  .mta_queue_id = (char *)"4ABC",
                                  .arrival = {1700000000, 123456000}};
}

static inline struct queue_recipient spool_unit_recipient(const char *address)
{
    return (struct queue_recipient){
        .address = (char *)address, .orcpt = (char *)"rfc822;o+2Bx@y.test", .state = QUEUE_PENDING};
}

#endif
