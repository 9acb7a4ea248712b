/* SPDX-License-Identifier: ISC */
/* power_content: contents and addresses that tell which copy they belong to. */
#ifndef SPLIT_POWER_CONTENT_H
#define SPLIT_POWER_CONTENT_H

#include <stdbool.h>
#include <stddef.h>

#define POWER_ADDRESS_SIZE 64

/* The content of the message: size bytes, CRLF lines of which each begins with the tag. tag: that
 * of a copy without what follows its dot. Made once, and kept until the process ends. */
const char *power_content(const char *tag, size_t size);

/* The same with LF, as a Maildir has it. *size_out: its size. To be freed. */
char *power_content_lf(const char *tag, size_t size, size_t *size_out);

/* The address of a recipient of a copy. */
void power_address(const char *tag, size_t number, char out[POWER_ADDRESS_SIZE]);

#endif
