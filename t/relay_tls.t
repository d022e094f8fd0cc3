#!/usr/bin/perl

# Tests for WebSockets over TLS: a blocked write is tried again from another
# place, and a short one is no sign of a full socket.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::WebSocket qw/:frames/;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket
    openssl IO::Socket::SSL/);

my $agent = $t->agent(id => 'echo.1', port => 8081);

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ $agent->instance('echo') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(19);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    ssl_certificate      %%TESTDIR%%/localhost.crt;
    ssl_certificate_key  %%TESTDIR%%/localhost.key;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8443 ssl;
        listen  127.0.0.1:8080;

        location / {
            corral_service_from   path;
            corral_websocket      agents;
            corral_close_timeout  1s;
        }

        location /agents/echo/renewed/ {
            corral_service_from  path;
            corral_websocket     agents;
            corral_subject       $arg_sub;
            corral_token_renew   /renew;
        }

        location = /renew {
            internal;
            lingering_close  always;
            corral_subject   ann;
            corral_expires   1999999999;
            return           204;
        }

        location = /status { corral_status; }
    }
}

EOF

my $d = $t->testdir();
system("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2"
    . " -keyout $d/localhost.key -out $d/localhost.crt >>$d/openssl.out 2>&1");

$t->run()->wait_for_revision(1);

###############################################################################

my $ws = open_ws();
is($ws->numbered(50), '', 'messages');

# around the size of a TLS record, and of the relay's buffer

my @sizes = (16382 .. 16386, 65530 .. 65538, 1_000_000);
is(join(' ', grep { $_ } map { echoed($_) } @sizes), '', 'sizes');

$ws->send_slow($ws->frame(TEXT, 'slow' x 20));
is($ws->read_message(), 'slow' x 20, 'byte by byte');

is($ws->close(3001), 3001, 'close');
ok($ws->ended(), 'disconnected');

# a slow reader gets everything, and others do not wait for it

for my $try (1 .. 2) {
    my $slow = open_ws(rcvbuf => 4096);
    $slow->send_text('!send 12000000');
    select undef, undef, undef, 0.3;
    is($ws = open_ws()->numbered(5), '', "another one meanwhile, $try");

    my $f = $slow->read_frame(20);
    is($f ? length $f->{payload} : 0, 12_000_000, "slow reader, $try");
    is($slow->close(), 1000, "and its close, $try");
}

# the agent stops reading: the client has to wait, and loses nothing

$ws = open_ws();
is($ws->ask('!id'), 'echo.1', 'agent is there');
$agent->set(stall => 1);
my $frame = $ws->frame(BINARY, 'y' x 12_000_000);
my $sent = $ws->send_raw($frame, 1);
$agent->set(stall => 0);
$sent += $ws->send_raw(substr($frame, $sent), 20) if $sent < length $frame;
my $f = $ws->read_frame(20);
is($f ? length $f->{payload} : 0, 12_000_000, 'after a stalled agent');

# last words

$ws = open_ws(rcvbuf => 4096);
$ws->send_text('!send 4000000 close');
$ws->send_text('still talking') for 1 .. 20;
$f = $ws->read_frame(10);
is($f ? length $f->{payload} : 0, 4_000_000, 'all of 4 MB');
is($ws->close_code(), 1000, 'and the close');

$ws = open_ws();
$ws->send_text('!reset');
is($ws->close_code(), 1011, 'agent resets');

# a token is verified on a connection of its own: the client's TLS stays

$ws = $t->websocket('/agents/echo/renewed/?sub=ann', port => port(8443),
    ssl => 1);
is($ws->ask('{"type":"corral.renew","token":"x"}'),
    '{"type":"corral.renewed","expires_at":1999999999}', 'renewed');
is($ws->ask('hello'), 'hello', 'and goes on');
is($ws->close(), 1000, 'closed');

###############################################################################

sub open_ws {
    my $ws = $t->websocket('/agents/echo/', port => port(8443), ssl => 1, @_);
    die "no handshake: " . $ws->head() unless $ws->accepted();
    return $ws;
}

sub echoed {
    my ($size) = @_;
    $ws->send_binary('x' x $size);
    my $got = length($ws->read_message(10) // '');
    return $got == $size ? '' : "$size: $got";
}

###############################################################################
