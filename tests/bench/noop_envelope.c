/* SPDX-License-Identifier: ISC */
/*
 * noop_envelope: a milter that looks at the envelope only and does nothing: the cheapest thing
 * that libmilter allows. It negotiates away what it does not need, and replies at DATA, without
 * which a TCP connection to Postfix stalls for 40 ms per message (delayed acknowledgement).
 *
 *     noop_envelope SOCKET        e.g. unix:/path or inet:PORT@127.0.0.1
 */
#include <libmilter/mfapi.h>

#include <stdio.h>
#include <string.h>

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

static sfsistat on_path(SMFICTX *ctx, char **argv)
{
    (void)ctx, (void)argv;
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
        .xxfi_envfrom = on_path,
        .xxfi_envrcpt = on_path,
        .xxfi_eom = on_event,
        .xxfi_abort = on_event,
        .xxfi_close = on_event,
        .xxfi_data = on_event,
        .xxfi_negotiate = on_negotiate,
    };
    if (argc != 2 || smfi_setconn(argv[1]) != MI_SUCCESS ||
        smfi_register(description) != MI_SUCCESS) {
        fprintf(stderr, "usage: noop_envelope SOCKET\n");
        return 64;
    }
    return smfi_main() == MI_SUCCESS ? 0 : 1;
}
