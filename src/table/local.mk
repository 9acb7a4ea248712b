# SPDX-License-Identifier: ISC
# Look-up tables.
libsplit_a_SOURCES += %D%/cf.c %D%/cf.h
libsplit_a_SOURCES += %D%/lookup.c %D%/lookup.h
libsplit_a_SOURCES += %D%/module.c %D%/module.h
libsplit_a_SOURCES += %D%/pool.c %D%/pool.h
libsplit_a_SOURCES += %D%/pool_choice.c %D%/pool_private.h
libsplit_a_SOURCES += %D%/query.c %D%/query.h
libsplit_a_SOURCES += %D%/socketmap_reply.c %D%/socketmap_reply.h
libsplit_a_SOURCES += %D%/table.c %D%/table.h
libsplit_a_SOURCES += %D%/table_compiled.c
libsplit_a_SOURCES += %D%/table_external.c
libsplit_a_SOURCES += %D%/table_file.c
libsplit_a_SOURCES += %D%/table_index.c
libsplit_a_SOURCES += %D%/table_inline.c
libsplit_a_SOURCES += %D%/table_lines.c
libsplit_a_SOURCES += %D%/table_module.h
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

# Modules, which are loaded for tables of their type.
EXTRA_DIST += %D%/module.symbols
if HAVE_MODULE_LDAP
module_PROGRAMS += %D%/ldap.so
%C%_ldap_so_SOURCES = %D%/module_ldap.c %D%/module_ldap_private.h
%C%_ldap_so_SOURCES += %D%/module_ldap_bind.c
%C%_ldap_so_SOURCES += %D%/module_ldap_link.c
%C%_ldap_so_SOURCES += %D%/module_ldap_search.c
%C%_ldap_so_SOURCES += %D%/module_ldap_settings.c
%C%_ldap_so_SOURCES += %D%/module_ldap_tls.c
%C%_ldap_so_SOURCES += %D%/module_ldap_values.c
%C%_ldap_so_CFLAGS = $(MODULE_CFLAGS) $(LDAP_CFLAGS)
%C%_ldap_so_LDFLAGS = $(MODULE_LDFLAGS)
%C%_ldap_so_LDADD = $(LDAP_LIBS)
endif
if HAVE_MODULE_MYSQL
module_PROGRAMS += %D%/mysql.so
%C%_mysql_so_SOURCES = %D%/module_mysql.c %D%/module_mysql_connection.c %D%/module_mysql_private.h %D%/module_mysql_settings.c
%C%_mysql_so_CFLAGS = $(MODULE_CFLAGS) $(MYSQL_CFLAGS)
%C%_mysql_so_LDFLAGS = $(MODULE_LDFLAGS)
%C%_mysql_so_LDADD = $(MYSQL_LIBS)
endif
if HAVE_MODULE_PGSQL
module_PROGRAMS += %D%/pgsql.so
%C%_pgsql_so_SOURCES = %D%/module_pgsql.c %D%/module_pgsql_settings.c %D%/module_pgsql_private.h
%C%_pgsql_so_CFLAGS = $(MODULE_CFLAGS) $(PGSQL_CFLAGS)
%C%_pgsql_so_LDFLAGS = $(MODULE_LDFLAGS)
%C%_pgsql_so_LDADD = $(PGSQL_LIBS)
endif
if HAVE_MODULE_SQLITE
module_PROGRAMS += %D%/sqlite.so
%C%_sqlite_so_SOURCES = %D%/module_sqlite.c
%C%_sqlite_so_CFLAGS = $(MODULE_CFLAGS) $(SQLITE_TABLE_CFLAGS)
%C%_sqlite_so_LDFLAGS = $(MODULE_LDFLAGS)
%C%_sqlite_so_LDADD = $(SQLITE_TABLE_LIBS)
endif
