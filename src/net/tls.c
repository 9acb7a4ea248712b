/* SPDX-License-Identifier: ISC */
#include "net/tls.h"

#include <stdio.h>

const char *tls_trust_name(enum tls_trust trust)
{
    static const char *const names[] = {"Anonymous", "Untrusted", "Trusted", "Verified"};

    return names[trust];
}

void tls_format_info(const struct tls_info *info, const char *to, const char *peer, char *out,
                     size_t size)
{
    snprintf(out, size, "%s TLS connection %s %s %s: %s with cipher %s (%d/%d bits)",
             tls_trust_name(info->trust), info->is_resumed ? "resumed" : "established", to, peer,
             info->protocol, info->cipher, info->bits, info->algorithm_bits);
}
