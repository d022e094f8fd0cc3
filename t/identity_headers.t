#!/usr/bin/perl

# Tests for the identity step: which headers of the client reach the agent, what
# is added to them, and which origins may use an agent.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status/);

my $agent = $t->agent(id => 'echo.1', port => 8081);

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ $agent->instance('echo') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(32);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        proxy_http_version  1.1;
        proxy_set_header    Connection "";
        proxy_set_header    Host $corral_host;

        corral_service_from  path query;

        location / {
            proxy_pass  http://agents;
        }

        location /agents/echo/any/ {
            corral_origin  any;
            proxy_pass     http://agents;
        }

        location /agents/echo/list/ {
            corral_origin  https://one.example https://two.example:8443;
            proxy_pass     http://agents;
        }

        location /agents/echo/denied/ {
            deny        all;
            proxy_pass  http://agents;
        }

        location = /status {
            corral_service  off;
            corral_status;
        }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# headers in which the agent trusts come from the gateway alone

my $head = head('Corral-Subject: a', 'CORRAL-TENANT: b', 'X-Corral-User: c',
    'x-corral-x: d', 'X-Other: e', 'Corralx: f');

unlike($head, qr/^(x-)?corral-/mi, 'corral headers removed');
like($head, qr/^x-other: e\r$/mi, 'other header kept');
like($head, qr/^corralx: f\r$/mi, 'similar name kept');

# many headers: nginx keeps them in parts of twenty

$head = head(map { ("X-Corral-$_: no", "X-Keep-$_: yes") } 1 .. 50);

unlike($head, qr/^x-corral-/mi, 'all of many removed');
is(scalar(() = $head =~ /^x-keep-\d+: yes\r$/mgi), 50, 'all others kept');

# who the client is, behind which proxies

is(header(head(), 'x-forwarded-for'), '127.0.0.1', 'x-forwarded-for');
is(header(head('X-Forwarded-For: 10.1.1.1'), 'x-forwarded-for'),
    '10.1.1.1, 127.0.0.1', 'x-forwarded-for appended');

# an agent reads the last address: it must be the one that the gateway saw

my @all = split /, /, header(
    head('X-Forwarded-For: 10.1.1.1', 'X-Forwarded-For: 10.2.2.2'),
    'x-forwarded-for');

is($all[-1], '127.0.0.1', 'x-forwarded-for in two lines, appended at the end');

is(header(head(), 'x-forwarded-proto'), 'http', 'x-forwarded-proto');
is(header(head('X-Forwarded-Proto: https'), 'x-forwarded-proto'), 'https',
    'x-forwarded-proto of a proxy in front');
is(header(head('Host: one.example:81'), 'x-forwarded-host'),
    'one.example:81', 'x-forwarded-host');
is(header(head('Host: one.example:81'), 'host'), 'one.example:81',
    'host of the client');

# what would become a header of its own is refused

like(get('/agents/echo%0d%0aX-Evil:%201/'), qr/^HTTP\/1.1 400 /, 'CR LF');
like(get('/agents/echo%0aX-Evil:%201/'), qr/^HTTP\/1.1 400 /, 'LF');
like(get('/agents/echo%00/'), qr/^HTTP\/1.1 400 /, 'NUL');
like(get('/x?service=echo%0d%0aX-Evil:1'), qr/^HTTP\/1.1 40[04] /,
    'CR LF in the query');
is(scalar(grep { /evil/i } $agent->requests()), 0, 'nothing reached the agent');

# origin: by default a page of the same host and port only

like(origin('/', 'http://localhost'), qr/ 200 /, 'same origin');
like(origin('/', 'https://LOCALHOST'), qr/ 200 /, 'same host in capitals');
like(get('/agents/echo/'), qr/ 200 /, 'no origin');

my $r = origin('/', 'http://evil.example');

like($r, qr/^HTTP\/1.1 403 /, 'another origin');
is(http_body($r, json => 1)->{code}, 'origin_refused', 'its code');
like(http_body($r, json => 1)->{detail}, qr{"http://evil.example"}, 'named');

like(origin('/', 'http://localhost.evil.example'), qr/ 403 /, 'longer host');
like(origin('/', 'http://localhost:1'), qr/ 403 /, 'another port');
like(origin('/', 'null'), qr/ 403 /, 'null');

like(origin('/any/', 'http://evil.example'), qr/ 200 /, 'any origin');
like(origin('/list/', 'https://two.example:8443'), qr/ 200 /, 'listed origin');
like(origin('/list/', 'http://one.example'), qr/ 403 /, 'another scheme');
like(origin('/list/', 'http://localhost'), qr/ 403 /, 'same, but not listed');

# two origins in one request: the second one does not pass unseen

like(get('/agents/echo/', 'Origin: http://localhost',
    'Origin: http://evil.example'), qr/ 40[03] /, 'two origins');

# nginx's own access rules take part

like(get('/agents/echo/denied/'), qr/ 403 /, 'deny');

###############################################################################

sub get {
    my ($uri, @headers) = @_;
    return http_get($uri, headers => \@headers);
}

sub origin { get("/agents/echo$_[0]", "Origin: $_[1]") }

sub head {
    my $r = get('/agents/echo/', @_);
    return $r =~ / 200 / ? http_body($r, json => 1)->{head} : $r;
}

# all lines of a header as one value, as RFC 9110 says

sub header {
    my ($head, $name) = @_;
    return join ', ', $head =~ /^\Q$name\E: (.*)\r$/mgi;
}

###############################################################################
