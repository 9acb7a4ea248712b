/* SPDX-License-Identifier: ISC */
/*
 * origin: the domain that `splitctl explain` assumes for recipients without domain. An MTA would
 * add its own domain; splitctl takes myorigin of Postfix if Postfix is installed, otherwise
 * hostname of section relay (by default the name of the system). One thread.
 */
#ifndef SPLIT_CTL_ORIGIN_H
#define SPLIT_CTL_ORIGIN_H

#include "config/config.h"

struct origin {
    char *domain;       /* owned */
    const char *source; /* "myorigin of Postfix"; static */
};

/* Find the domain with postconf(1). The caller frees `domain`. */
struct origin origin_find(const struct config *config) __attribute__((nonnull));

#endif
