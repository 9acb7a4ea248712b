# SPDX-License-Identifier: ISC
"""What control panels have in their databases and directories, and in the parameter files of their Postfix: for it_panels.py. The tables
have the names of the panels, and the columns that the queries need."""

# --- iRedMail -------------------------------------------------------------------------------------------------------------------

IREDMAIL = """\
CREATE TABLE domain (domain VARCHAR(255) PRIMARY KEY, transport VARCHAR(255) NOT NULL DEFAULT 'dovecot', backupmx SMALLINT NOT NULL DEFAULT 0, active SMALLINT NOT NULL DEFAULT 1);
CREATE TABLE alias_domain (alias_domain VARCHAR(255) PRIMARY KEY, target_domain VARCHAR(255) NOT NULL, active SMALLINT NOT NULL DEFAULT 1);
CREATE TABLE forwardings (address VARCHAR(255) NOT NULL, forwarding VARCHAR(255) NOT NULL, domain VARCHAR(255) NOT NULL,
    is_list SMALLINT NOT NULL DEFAULT 0, is_forwarding SMALLINT NOT NULL DEFAULT 0, is_alias SMALLINT NOT NULL DEFAULT 0, active SMALLINT NOT NULL DEFAULT 1, UNIQUE (address, forwarding));
CREATE TABLE recipient_bcc_user (username VARCHAR(255) PRIMARY KEY, bcc_address VARCHAR(255) NOT NULL, domain VARCHAR(255) NOT NULL, active SMALLINT NOT NULL DEFAULT 1);
CREATE TABLE recipient_bcc_domain (domain VARCHAR(255) PRIMARY KEY, bcc_address VARCHAR(255) NOT NULL, active SMALLINT NOT NULL DEFAULT 1);
CREATE TABLE sender_bcc_user (username VARCHAR(255) PRIMARY KEY, bcc_address VARCHAR(255) NOT NULL, domain VARCHAR(255) NOT NULL, active SMALLINT NOT NULL DEFAULT 1);
CREATE TABLE sender_bcc_domain (domain VARCHAR(255) PRIMARY KEY, bcc_address VARCHAR(255) NOT NULL, active SMALLINT NOT NULL DEFAULT 1);
INSERT INTO domain (domain) VALUES ('example.com');
INSERT INTO alias_domain VALUES ('example.net', 'example.com', 1);
INSERT INTO forwardings (address, forwarding, domain, is_forwarding) VALUES ('anna@example.com', 'anna@example.com', 'example.com', 1), ('ben@example.com', 'ben@example.com', 'example.com', 1);
INSERT INTO forwardings (address, forwarding, domain, is_alias) VALUES ('a.smith@example.com', 'anna@example.com', 'example.com', 1);
INSERT INTO forwardings (address, forwarding, domain, is_list) VALUES ('staff@example.com', 'anna@example.com', 'example.com', 1), ('staff@example.com', 'ben@example.com', 'example.com', 1);
INSERT INTO recipient_bcc_domain VALUES ('example.com', 'archive@example.com', 1);
INSERT INTO recipient_bcc_user VALUES ('ben@example.com', 'none@example.com', 'example.com', 1);
INSERT INTO sender_bcc_user VALUES ('ben@example.com', 'archive@example.com', 'example.com', 1);
"""
LOGIN = "hosts       = 127.0.0.1:{port}\nuser        = vmail\npassword    = secret\ndbname      = vmail\n"
BCC = "query       = SELECT b.bcc_address FROM {table} b, domain d WHERE {condition} AND b.domain='%d' AND b.domain=d.domain AND d.active=1 AND b.active=1\n"
ALIAS = "query       = SELECT f.forwarding FROM forwardings f, domain d WHERE f.address='%s' AND f.domain=d.domain AND f.active=1 AND d.backupmx=0 AND d.active=1\n"
ALIAS_DOMAIN = (
    "query       = SELECT f.forwarding FROM forwardings f, alias_domain a WHERE a.alias_domain='%d' AND f.address=CONCAT('%u', '@', a.target_domain)"
    " AND f.active=1 AND a.active=1\n"
)
IREDMAIL_FILES = {
    "virtual_alias_maps.cf": ALIAS,
    "domain_alias_maps.cf": ALIAS_DOMAIN,
    **{f"{side}_bcc_maps_user.cf": BCC.format(table=f"{side}_bcc_user", condition="b.username='%s'") for side in ("recipient", "sender")},
    **{f"{side}_bcc_maps_domain.cf": BCC.format(table=f"{side}_bcc_domain", condition="b.active=1") for side in ("recipient", "sender")},
}
IREDMAIL_MAIN = """
relay_domains = example.com example.net
virtual_alias_maps =
    proxy:mysql:/etc/postfix/mysql/virtual_alias_maps.cf
    proxy:mysql:/etc/postfix/mysql/domain_alias_maps.cf
recipient_bcc_maps =
    proxy:mysql:/etc/postfix/mysql/recipient_bcc_maps_user.cf
    proxy:mysql:/etc/postfix/mysql/recipient_bcc_maps_domain.cf
sender_bcc_maps =
    proxy:mysql:/etc/postfix/mysql/sender_bcc_maps_user.cf
    proxy:mysql:/etc/postfix/mysql/sender_bcc_maps_domain.cf
content_filter = smtp-amavis:[127.0.0.1]:10024
smtp-amavis_destination_recipient_limit = 1
recipient_delimiter = +
"""
IREDMAIL_MASTER = """
submission inet n - n - - smtpd
  -o syslog_name=postfix/submission
  -o content_filter=smtp-amavis:[127.0.0.1]:10026
465 inet n - n - - smtpd
  -o syslog_name=postfix/smtps
  -o content_filter=smtp-amavis:[127.0.0.1]:10026
smtp-amavis unix - - n - 2 smtp
  -o syslog_name=postfix/amavis
  -o smtp_send_xforward_command=yes
127.0.0.1:10025 inet n - n - - smtpd
  -o content_filter=
  -o mynetworks=127.0.0.0/8
  -o smtpd_recipient_restrictions=permit_mynetworks,reject
  -o receive_override_options=no_header_body_checks,no_unknown_recipient_checks,no_address_mappings
"""
# recipient -> (final address, filter, copies)
IREDMAIL_DECISIONS = {
    "anna@example.com": ("anna@example.com", "secondary", ["archive"]),
    "anna+news@example.com": ("anna+news@example.com", "secondary", ["archive"]),
    "a.smith@example.com": ("a.smith@example.com", "secondary", ["archive"]),
    "ben@example.com": ("ben@example.com", "primary", []),
    "staff@example.com": ("staff@example.com", "primary", ["archive"]),
    "anna@example.net": ("anna@example.com", "secondary", []),
    "o'neil@example.net": ("o'neil@example.com", "primary", []),
    "someone@example.org": ("someone@example.org", None, []),
}

# --- mailcow --------------------------------------------------------------------------------------------------------------------

MAILCOW = """\
CREATE TABLE alias (id INT AUTO_INCREMENT PRIMARY KEY, address VARCHAR(255) NOT NULL UNIQUE, goto TEXT NOT NULL, domain VARCHAR(255) NOT NULL, active TINYINT(1) NOT NULL DEFAULT '1');
CREATE TABLE alias_domain (alias_domain VARCHAR(255) PRIMARY KEY, target_domain VARCHAR(255) NOT NULL, active TINYINT(1) NOT NULL DEFAULT '1');
CREATE TABLE mailbox (username VARCHAR(255) PRIMARY KEY, domain VARCHAR(255) NOT NULL, active TINYINT(1) NOT NULL DEFAULT '1');
CREATE TABLE tags_domain (tag_name VARCHAR(255) NOT NULL, domain VARCHAR(255) NOT NULL, UNIQUE (tag_name, domain));
CREATE TABLE tags_mailbox (tag_name VARCHAR(255) NOT NULL, username VARCHAR(255) NOT NULL, UNIQUE (tag_name, username));
INSERT INTO mailbox (username, domain) VALUES ('anna@example.com', 'example.com'), ('ben@example.com', 'example.com');
INSERT INTO alias (address, goto, domain) VALUES ('anna@example.com', 'anna@example.com', 'example.com'), ('ben@example.com', 'ben@example.com', 'example.com'),
    ('info@example.com', 'anna@example.com', 'example.com'), ('staff@example.com', 'anna@example.com,ben@example.com', 'example.com');
INSERT INTO alias_domain VALUES ('example.net', 'example.com', 1);
INSERT INTO tags_domain VALUES ('filter-primary', 'example.com'), ('copy-archive', 'example.com'), ('customer', 'example.com');
INSERT INTO tags_mailbox VALUES ('filter-secondary', 'anna@example.com'), ('copy-archive', 'anna@example.com'), ('copy-newmail', 'anna@example.com'), ('board', 'anna@example.com'),
    ('copy-none', 'ben@example.com');
"""
# As mailcow writes it, in words of our own.
MAILCOW_ALIAS_DOMAIN = """\
# Autogenerated by mailcow
user = mailcow
password = not the one of splitmilter
hosts = unix:/var/run/mysqld/mysqld.sock
dbname = mailcow
query = SELECT m.username FROM mailbox m, alias_domain a
  WHERE a.alias_domain = '%d'
    AND m.username = CONCAT('%u', '@', a.target_domain)
    AND (m.active = '1' OR m.active = '2')
    AND a.active='1'
"""
MAILCOW_DECISIONS = {
    "anna@example.com": ("anna@example.com", "secondary", ["archive", "newmail"]),
    "info@example.com": ("info@example.com", "secondary", ["archive", "newmail"]),
    "anna@example.net": ("anna@example.com", "secondary", ["archive", "newmail"]),
    "ben@example.com": ("ben@example.com", "primary", []),
    "staff@example.com": ("staff@example.com", "primary", ["archive"]),
    "nobody@example.net": ("nobody@example.net", "primary", ["archive"]),
    "someone@example.org": ("someone@example.org", None, []),
}

# --- Mail-in-a-Box --------------------------------------------------------------------------------------------------------------

BOX = """\
CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL UNIQUE);
CREATE TABLE aliases (id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL UNIQUE, destination TEXT NOT NULL);
INSERT INTO users (email) VALUES ('anna@example.com'), ('ben@example.com');
INSERT INTO aliases (source, destination) VALUES ('info@example.com', 'anna@example.com');
"""
BOX_DECISIONS = {
    "anna@example.com": ("anna@example.com", "secondary", ["archive"]),
    "ben@example.com": ("ben@example.com", "primary", ["archive"]),
    "info@example.com": ("info@example.com", "primary", ["archive"]),
    "someone@example.com": ("someone@example.com", "primary", []),
    "someone@example.org": ("someone@example.org", None, []),
}

# --- LDAP -----------------------------------------------------------------------------------------------------------------------

SUFFIX = "dc=example,dc=com"
TEXT = "EQUALITY caseIgnoreIA5Match SYNTAX 1.3.6.1.4.1.1466.115.121.1.26"
# The attributes of iRedMail's schema that its files and ours need, and its classes.
IREDMAIL_ATTRIBUTES = (
    "domainName", "domainAliasName", "domainStatus", "accountStatus", "enabledService", "shadowAddress", "memberOfGroup", "domainRecipientBccAddress", "userRecipientBccAddress",
)
IREDMAIL_CLASSES = ("mailDomain", "mailUser")
PEOPLE = """\
dn: cn=splitmilter,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: splitmilter
userPassword: secret

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: uid=anna,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
uid: anna
cn: Anna Smith
sn: Smith
mail: anna@example.com
mailLocalAddress: anna@example.com
mailLocalAddress: a.smith@example.com

dn: uid=ben,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
uid: ben
cn: Ben
sn: Ben
mail: ben@example.com
mailLocalAddress: ben@example.com

dn: ou=groups,dc=example,dc=com
objectClass: organizationalUnit
ou: groups

dn: cn=everybody,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: everybody
member: uid=anna,ou=people,dc=example,dc=com
member: uid=ben,ou=people,dc=example,dc=com

"""
LDAP_DECISIONS = {
    "anna@example.com": ("anna@example.com", "secondary", ["archive", "newmail"]),
    "a.smith@example.com": ("anna@example.com", "secondary", ["archive", "newmail"]),
    "ben@example.com": ("ben@example.com", "primary", ["archive"]),
    "someone@example.com": ("someone@example.com", "primary", []),
    "an*@example.com": ("an*@example.com", "primary", []),
    "someone@example.org": ("someone@example.org", None, []),
}
IREDMAIL_PEOPLE = """\
dn: cn=vmail,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: vmail
userPassword: secret

dn: o=domains,dc=example,dc=com
objectClass: organization
o: domains

dn: domainName=example.com,o=domains,dc=example,dc=com
objectClass: organization
objectClass: mailDomain
o: example.com
domainName: example.com
domainAliasName: example.net
accountStatus: active
enabledService: mail
enabledService: recipientbcc
domainRecipientBccAddress: archive@example.com

dn: ou=Users,domainName=example.com,o=domains,dc=example,dc=com
objectClass: organizationalUnit
ou: Users

dn: mail=anna@example.com,ou=Users,domainName=example.com,o=domains,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: mailUser
uid: anna
cn: Anna
sn: Anna
mail: anna@example.com
shadowAddress: a.smith@example.com
memberOfGroup: staff@example.com
memberOfGroup: filter-secondary@example.com
accountStatus: active
enabledService: mail

dn: mail=ben@example.com,ou=Users,domainName=example.com,o=domains,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: mailUser
uid: ben
cn: Ben
sn: Ben
mail: ben@example.com
memberOfGroup: staff@example.com
accountStatus: active
enabledService: mail
enabledService: recipientbcc
userRecipientBccAddress: none@example.com

"""
LDAP_LOGIN = """\
server_host     = 127.0.0.1:{port}
version         = 3
bind            = yes
start_tls       = no
bind_dn         = cn=vmail,dc=example,dc=com
bind_pw         = secret
"""
IREDMAIL_LDAP_FILES = {
    "recipient_bcc_maps_user.cf": """\
search_base     = ou=Users,domainName=%d,o=domains,dc=example,dc=com
scope           = one
query_filter    = (&(objectClass=mailUser)(|(mail=%s)(shadowAddress=%s))(accountStatus=active)(!(domainStatus=disabled))(enabledService=recipientbcc))
result_attribute= userRecipientBccAddress
debuglevel      = 0
""",
    "recipient_bcc_maps_domain.cf": """\
search_base     = o=domains,dc=example,dc=com
scope           = one
query_filter    = (&(objectClass=mailDomain)(accountStatus=active)(enabledService=recipientbcc)(|(domainName=%d)(domainAliasName=%d)))
result_attribute= domainRecipientBccAddress
debuglevel      = 0
""",
}
IREDMAIL_LDAP_DECISIONS = {
    "anna@example.com": ("anna@example.com", "secondary", ["archive"]),
    "a.smith@example.com": ("a.smith@example.com", "secondary", ["archive"]),
    "ben@example.com": ("ben@example.com", "primary", []),
    "anna@example.net": ("anna@example.net", "primary", ["archive"]),
    "someone@example.org": ("someone@example.org", "primary", []),
}
