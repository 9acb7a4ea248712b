# SPDX-License-Identifier: ISC
"""Programs that are not ours read a journal report: its text, and the original message in it."""

import email
import email.parser
import email.policy
import json
import subprocess

from .base import Failure, Skip, need_tools

# Prints a line of JSON for each file, and writes the body of the second part unchanged into FILE.part.
PERL = r"""
use MIME::Parser; use Encode; use JSON::PP;
for my $file (@ARGV) {
    my $parser = MIME::Parser->new;
    $parser->output_to_core(1);
    $parser->extract_nested_messages(0);
    open(my $in, '<:raw', $file) or die $!;
    my $entity = $parser->parse($in);
    my @errors = $parser->results->errors;
    die "$file: @errors" if @errors;
    die "$file: " . $entity->parts . " parts" if $entity->parts != 2;
    die "$file: " . $entity->parts(1)->mime_type if $entity->parts(1)->mime_type ne 'message/rfc822';
    open(my $out, '>:raw', "$file.part") or die $!;
    print $out $entity->parts(1)->bodyhandle->as_string;
    close($out) or die $!;
    my ($subject, $from) = map { my $v = $entity->head->get($_); chomp $v; $v } ('Subject', 'X-Envelope-From');
    my $text = $entity->parts(0)->bodyhandle->as_string;
    my $charset = $entity->parts(0)->head->mime_attr('content-type.charset');
    print JSON::PP->new->ascii->encode({ from => $from, subject => Encode::decode('MIME-Header', $subject),
        text => Encode::decode($charset, $text, Encode::FB_CROAK) }), "\n";
}
"""


def python_parts(data):
    """(whole message, text of the report, header of the second part, its body as bytes).

    Only the headers of the second part are parsed, because Python's parser would change the line ends of its body.
    """
    whole = email.message_from_bytes(data, policy=email.policy.SMTP)
    assert not whole.defects, whole.defects
    assert whole.get_content_type() == "multipart/mixed" and len(whole.get_payload()) == 2, whole.get_content_type()
    report, inner = whole.get_payload()
    assert report.get_content_type() == "text/plain" and inner.get_content_type() == "message/rfc822"
    unparsed = email.parser.BytesHeaderParser().parsebytes(data)
    assert isinstance(unparsed["Subject"], str), "bytes over 127 in the subject"  # they are taken for UTF-8 above
    raw = unparsed.get_payload(decode=True)
    parts = raw.split(b"\r\n--" + whole.get_boundary().encode())
    assert raw.startswith(b"--" + whole.get_boundary().encode()) and len(parts) == 3 and parts[2] == b"--\r\n", len(parts)
    second = email.parser.BytesHeaderParser().parsebytes(parts[1].removeprefix(b"\r\n"))
    return whole, report.get_content(), second, second.get_payload(decode=True)


def perl_parts(paths):
    """What Perl's MIME::Parser finds in files with one report each: a dict for each file with "from" (X-Envelope-From), "subject",
    "text" (of the report), and "message" (the body of the second part as bytes; MIME::Parser changes some CRLF to LF). Failure if
    there are not two parts. Skip without MIME::Parser."""
    need_tools("perl")
    if subprocess.run(["perl", "-MMIME::Parser", "-e1"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        raise Skip("not installed: libmime-tools-perl")
    done = subprocess.run(["perl", "-e", PERL, *paths], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0 or done.stderr:
        raise Failure(f"perl: {done.returncode}: {done.stderr.decode()}")
    found = [json.loads(line) for line in done.stdout.decode().splitlines()]
    for path, one in zip(paths, found, strict=True):
        with open(f"{path}.part", "rb") as f:
            one["message"] = f.read()
    return found
