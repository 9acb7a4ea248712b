/* SPDX-License-Identifier: ISC */
/*
 * choose: which of the changes that a disk may have or not it has (disk.h). Round 0: all; round 1:
 * none; the others at random, so that the same seed, place and round give the same choices: one
 * change missing, torn or alone; or for each file and directory by itself all, none, the first
 * ones, or any.
 */
#ifndef SPLIT_POWER_CHOOSE_H
#define SPLIT_POWER_CHOOSE_H

#include "disk.h"

void choose(const struct disk_change *changes, size_t count, uint64_t seed, uint64_t place,
            uint64_t round, struct disk_choice *out);

#endif
