/* SPDX-License-Identifier: ISC */
/*
 * maildir: a destination that is a directory (relay_to = "maildir:/path"): one file for each copy,
 * as Maildir readers expect it (maildir(5)):
 *
 *     PATH/tmp/TIME.PpidQn_COPYID.HOST         written, synced
 *     PATH/new/ARRIVAL.COPYID.HOST,S=BYTES     linked, directory synced; then unlinked in tmp/
 *
 * The name in new/ is the same at each attempt, so that a copy that was delivered before a crash is
 * recognised and not delivered twice, as long as no mail reader has moved the file. A file begins
 * with "Return-Path: <sender>", followed by what format.h says; its lines end in LF. Directories
 * that are missing are made with mode 0700, but not the one that PATH is in.
 *
 * A full disk defers the copy. Any other error of the directories is a fault of the destination,
 * because all copies would have it.
 */
#ifndef SPLIT_MAILDIR_H
#define SPLIT_MAILDIR_H

#include "config/config.h"
#include "deliver/transport.h"

/* Make the transport. d, whose only relay_to is a Maildir, and hostname (for the file names) are
 * borrowed for its life. No I/O yet. */
struct transport *maildir_new(const struct config_destination *d, const char *hostname)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

#endif
