/* SPDX-License-Identifier: ISC */
#include "complete.h"
#include "policy/policy.h"

#include <stdlib.h>

char *complete_recipient(SMFICTX *ctx, const char *path, const char *hostname)
{
    static char rcpt_addr[] = "{rcpt_addr}", mta_name[] = "j";
    static const char *const nothing[] = {"localhost", NULL};
    /* Complete the path with localhost first, only to see whether it lacks a domain. So macros are
     * read only if they are needed. */
    char *sample = policy_complete(path, "", nothing);

    if (sample == NULL && !policy_may_be_rerouted(path))
        return NULL;
    const char *says = smfi_getsymval(ctx, rcpt_addr);
    if (sample == NULL)
        return policy_rerouted(path, says == NULL ? "" : says);
    free(sample);
    const char *name = smfi_getsymval(ctx, mta_name);
    const char *domains[] = {name == NULL ? hostname : name, hostname, "localhost", NULL};
    return policy_complete(path, says == NULL ? "" : says, domains);
}
