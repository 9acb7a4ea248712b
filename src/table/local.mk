# SPDX-License-Identifier: ISC
# Look-up tables.
libsplit_a_SOURCES += %D%/cf.h %D%/module.h %D%/pool.h %D%/query.h %D%/table_module.h
libsplit_a_SOURCES += %D%/lookup.c %D%/lookup.h
libsplit_a_SOURCES += %D%/socketmap_reply.c %D%/socketmap_reply.h
libsplit_a_SOURCES += %D%/table.c %D%/table.h
libsplit_a_SOURCES += %D%/table_compiled.c
libsplit_a_SOURCES += %D%/table_file.c
libsplit_a_SOURCES += %D%/table_index.c
libsplit_a_SOURCES += %D%/table_inline.c
libsplit_a_SOURCES += %D%/table_lines.c
libsplit_a_SOURCES += %D%/table_pcre.c
libsplit_a_SOURCES += %D%/table_pcre_needs.c %D%/table_pcre_needs.h
libsplit_a_SOURCES += %D%/table_private.h
libsplit_a_SOURCES += %D%/table_regexp.c
libsplit_a_SOURCES += %D%/table_rules.c %D%/table_rules.h
libsplit_a_SOURCES += %D%/table_socketmap.c
libsplit_a_SOURCES += %D%/table_static.c
libsplit_a_SOURCES += %D%/table_texthash.c
if HAVE_CDB
libsplit_a_SOURCES += %D%/table_cdb.c
endif
if HAVE_LMDB
libsplit_a_SOURCES += %D%/table_lmdb.c
endif
