#!/usr/bin/perl

# Who may call, and requests that are not what they should be.

use warnings;
use strict;

use Test::More;
use FindBin;
use lib "$FindBin::Bin/lib";

use Test::Corral::Rest;
use Test::Corral::Shim qw/slurp/;

my $d = Test::Corral::Rest->new(
    allowed_hosts => ['corral.example'],
    allowed_origins => ['https://console.example'],
)->start();

my $list = '/api/v1/services';
my $r;

sub code { "$r->{status} " . ($r->{json}{code} // '') }

###############################################################################

# the token

is((stat "$d->{dir}/s/token")[2] & 07777, 0600, 'the token is nobody else\'s');
cmp_ok(length $d->{token}, '>=', 64, 'and long');

$r = $d->call('GET', $list, undef, Authorization => undef);
is(code(), '401 TOKEN_REQUIRED', 'without a token');
like($r->{headers}{'www-authenticate'}, qr/Bearer/, 'and how to send one');

for ("Bearer x", "Bearer $d->{token}x", 'Bearer ' . substr($d->{token}, 1),
    "Basic $d->{token}", 'Bearer')
{
    $r = $d->call('GET', $list, undef, Authorization => $_);
    is(code(), '401 TOKEN_INVALID', 'another token');
}

is($d->call('GET', $list, undef, Authorization => "token $d->{token}")
    ->{status}, 200, 'the other scheme');
is($d->call('POST', $list, '{', Authorization => undef)->{status}, 401,
    'the token comes before the body');

is($d->call('GET', $_, undef, Authorization => undef)->{status}, 200, $_)
    for qw{/health /healthz /readyz /openapi.json /docs};
ok($d->call('GET', '/openapi.json')->{body}
    eq slurp("$FindBin::Bin/../docs/openapi.json") =~ s/\n\z//r,
    'docs/openapi.json is what corrald says: corrald --openapi');
is($d->call('GET', '/metrics', undef, Authorization => undef)->{status}, 401,
    'metrics are not public');

# foreign pages

is($d->call('GET', $list, undef, Host => $_)->{status}, 200, "host $_")
    for "localhost:$d->{port}", '127.0.0.1', '[::1]:1', 'corral.example';

for ('evil.example', "evil.example:$d->{port}", 'localhost.evil.example', '') {
    $r = $d->call('GET', $list, undef, Host => $_);
    is(code(), '403 HOST_REFUSED', "host \"$_\"");
}

is($d->call('GET', $list, undef, Origin => "http://127.0.0.1:$d->{port}")
    ->{status}, 200, 'a page of ours');
$r = $d->call('GET', $list, undef, Origin => 'https://console.example');
is($r->{headers}{'access-control-allow-origin'}, 'https://console.example',
    'a page that is allowed');

for ('http://evil.example', 'null', 'http://console.example') {
    $r = $d->call('GET', $list, undef, Origin => $_);
    is(code(), '403 ORIGIN_REFUSED', "origin $_");
    is($r->{headers}{'access-control-allow-origin'}, undef, 'no permission');
}

$r = $d->call('OPTIONS', $list, undef, Authorization => undef,
    Origin => 'https://console.example',
    'Access-Control-Request-Method' => 'PATCH');
is($r->{status}, 204, 'preflight');
like($r->{headers}{'access-control-allow-methods'}, qr/PATCH/, 'methods');

# targets

for ([ '/api/v1/services/a%2Fb', '404 SERVICE_NOT_FOUND' ],
    [ '/api/v1/services/%2e%2e%2fx', '404 SERVICE_NOT_FOUND' ],
    [ '/api/v1/services/%00', '400 BAD_REQUEST' ],
    [ '/api/v1/services/%zz', '400 BAD_REQUEST' ],
    [ '/api/v1/services/' . 'x' x 300, '400 BAD_REQUEST' ],
    [ '/api/v1/services?a=%f', '400 BAD_REQUEST' ],
    [ '/api/v1/services/', '404 NOT_FOUND' ],
    [ '/api/v1//services', '404 NOT_FOUND' ],
    [ '/../etc/passwd', '404 NOT_FOUND' ])
{
    $r = $d->call('GET', $_->[0]);
    is(code(), $_->[1], substr $_->[0], 0, 40);
}

$r = $d->call('PUT', '/api/v1/nodes', {});
is(code(), '405 METHOD_NOT_ALLOWED', 'another method');
is($r->{headers}{allow}, 'GET', 'and which there are');

# bodies

for ('', '{', '[]', '"x"', '{"a":1,}', '{"a":1,"a":2}', "{\"a\":\"\xff\"}",
    '{"a":"\u0000"}', '[' x 100_000, '{"labels":' . '[' x 40 . ']' x 40 . '}')
{
    $r = $d->call('POST', $list, $_);
    is(code(), '400 INVALID_JSON', 'body ' . substr($_, 0, 20));
}

$r = $d->call('POST', $list, '{}', 'Content-Type' => 'text/xml');
is(code(), '415 MEDIA_TYPE', 'another type');

$r = $d->call('POST', $list, 'x' x 2_000_000);
is(code(), '413 BODY_TOO_LARGE', 'a large body');

$r = $d->raw($d->request('POST', $list, undef,
    'Transfer-Encoding' => 'chunked')
    . ("10000\r\n" . 'y' x 65536 . "\r\n") x 32 . "0\r\n\r\n");
is(code(), '413 BODY_TOO_LARGE', 'one in pieces');

$r = $d->raw($d->request('POST', $list, undef,
    'Content-Length' => '99999999999', Expect => '100-continue'));
is(code(), '413 BODY_TOO_LARGE', 'a huge one is refused at once');

is($d->raw("GARBAGE\r\n\r\n", 5)->{status} || 400, 400, 'no HTTP');
ok($d->raw("GET /healthz HTTP/1.1\r\nHost: x\r\nX: " . 'a' x 70_000
    . "\r\n\r\n", 5)->{status} !~ /^2/, 'a huge header');
is($d->call('HEAD', $list)->{body}, '', 'HEAD has no body');

is($d->call('GET', '/api/v1/services')->{json}{total}, 0,
    'nothing came of all this');

# the admin socket

SKIP: {
    skip 'not root', 4 if $> != 0;

    is((stat "$d->{dir}/r/admin.sock")[2] & 07777, 0660, 'mode');
    is($d->admin('GET', $list, undef, Authorization => undef)->{status}, 200,
        'root needs no token there');

    # a descendant of a shim is refused, whatever its uid: one that is only
    # called so will do

    my $fake = "$d->{dir}/corral-shim";
    system("cp /bin/bash $fake");

    my $curl = 'curl -s -o /dev/null -w "%{http_code}" --unix-socket '
        . "$d->{dir}/r/admin.sock http://x$list; true";

    my $out = `$fake -c '$curl'`;
    is($out, 403, 'a descendant of a shim is not root there');

    $out = `bash -c '$curl'`;
    is($out, 200, 'another process is');
}

# an API for everybody

my $build = $ENV{CORRAL_BUILD} // "$FindBin::Bin/../build/release";

my $out = `$build/corrald --check --listen 0.0.0.0:1 2>&1`;
is($? >> 8, 2, 'beyond loopback it is refused');
like($out, qr/shell access.*tls_certificate.*allow_plain/s, 'and why');
is(system("$build/corrald --check --listen 0.0.0.0:1 --set allow_plain=true"
    . ' > /dev/null'), 0, 'unless it is said');

unlike($d->log(), qr/\Q$d->{token}/, 'the token is not in the log');

###############################################################################

$d->finish();

done_testing();
