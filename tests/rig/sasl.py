# SPDX-License-Identifier: ISC
"""Users for the SMTP AUTH of a private MTA, with Cyrus SASL."""

import base64
import os
import shutil
import subprocess

from .base import Skip, need_tools


def sasl_directory(directory, service, realm, user, password, mechanisms="PLAIN LOGIN", owner="root"):
    """Make a directory with SERVICE.conf and a file with one user, which `owner` can read. Skips without Cyrus SASL. Returns the
    directory, for cyrus_sasl_config_path of Postfix or SASL_CONF_PATH."""
    need_tools("saslpasswd2")
    if not any(os.path.exists(f"/usr/lib/{d}/sasl2/libscram.so") for d in os.listdir("/usr/lib") if "linux" in d):
        raise Skip("libsasl2-modules is not installed")
    os.mkdir(directory)
    database = os.path.join(directory, "sasldb2")
    subprocess.run(["saslpasswd2", "-c", "-p", "-f", database, "-u", realm, user], input=password.encode(), check=True)
    shutil.chown(database, owner)
    with open(os.path.join(directory, f"{service}.conf"), "w", encoding="ascii") as f:
        f.write(f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {database}\nmech_list: {mechanisms}\n")
    return directory


def auth_plain(user, password):
    """The command that authenticates with PLAIN."""
    return "AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()
