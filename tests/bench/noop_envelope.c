/* SPDX-License-Identifier: ISC */
/*
 * noop_envelope: a milter that gets the envelope only and does nothing, which is the least that
 * libmilter allows. It negotiates away the steps that it does not need, and replies at DATA,
 * without which a TCP connection to Postfix stalls for 40 ms per message (delayed acknowledgement).
 *
 *     noop_envelope SOCKET [SUFFIX]        e.g. unix:/path or inet:PORT@127.0.0.1
 *
 * With SUFFIX it makes the changes of a filter decision, without a look-up: the last recipient is
 * replaced by the same one with the suffix. That shows what the changes cost the MTA.
 */
#include <libmilter/mfapi.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *suffix;

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long actions, unsigned long steps,
                             unsigned long unused0, unsigned long unused1,
                             unsigned long *actions_out, unsigned long *steps_out,
                             unsigned long *unused0_out, unsigned long *unused1_out)
{
    (void)ctx, (void)unused0, (void)unused1;
    *actions_out = actions & (SMFIF_ADDRCPT | SMFIF_ADDRCPT_PAR | SMFIF_DELRCPT);
    *steps_out = steps & (SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOHDRS | SMFIP_NOEOH |
                          SMFIP_NOBODY | SMFIP_NOUNKNOWN);
    *unused0_out = 0;
    *unused1_out = 0;
    return SMFIS_CONTINUE;
}

static sfsistat on_mail(SMFICTX *ctx, char **argv)
{
    (void)ctx, (void)argv;
    return SMFIS_CONTINUE;
}

static sfsistat on_recipient(SMFICTX *ctx, char **argv)
{
    if (suffix != NULL) {
        free(smfi_getpriv(ctx));
        smfi_setpriv(ctx, strdup(argv[0]));
    }
    return SMFIS_CONTINUE;
}

static sfsistat on_end(SMFICTX *ctx)
{
    char *path = smfi_getpriv(ctx); /* "<user@domain>" */
    char changed[512], words[512];

    if (path == NULL)
        return SMFIS_CONTINUE;
    int len = (int)strcspn(path + 1, ">");
    snprintf(changed, sizeof changed, "<%.*s%s>", len, path + 1, suffix);
    snprintf(words, sizeof words, "ORCPT=rfc822;%.*s", len, path + 1);
    if (smfi_addrcpt_par(ctx, changed, words) != MI_SUCCESS ||
        smfi_delrcpt(ctx, path) != MI_SUCCESS)
        return SMFIS_TEMPFAIL;
    return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
    free(smfi_getpriv(ctx));
    smfi_setpriv(ctx, NULL);
    return SMFIS_CONTINUE;
}

static sfsistat on_event(SMFICTX *ctx)
{
    (void)ctx;
    return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
    static char name[] = "noop_envelope";
    struct smfiDesc description = {
        .xxfi_name = name,
        .xxfi_version = SMFI_VERSION,
        .xxfi_flags = SMFIF_ADDRCPT | SMFIF_ADDRCPT_PAR | SMFIF_DELRCPT,
        .xxfi_envfrom = on_mail,
        .xxfi_envrcpt = on_recipient,
        .xxfi_eom = on_end,
        .xxfi_abort = on_event,
        .xxfi_close = on_close,
        .xxfi_data = on_event,
        .xxfi_negotiate = on_negotiate,
    };
    if (argc == 3)
        suffix = argv[2];
    if (argc < 2 || argc > 3 || smfi_setconn(argv[1]) != MI_SUCCESS ||
        smfi_register(description) != MI_SUCCESS) {
        fprintf(stderr, "usage: noop_envelope SOCKET [SUFFIX]\n");
        return 64;
    }
    return smfi_main() == MI_SUCCESS ? 0 : 1;
}
