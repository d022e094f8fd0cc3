#!/usr/bin/perl

# Tests for the end of a connection: who closes, with which code, and what the
# other side gets to see.

###############################################################################

use warnings;
use strict;

use Test::More;
use Socket qw/IPPROTO_TCP TCP_CORK/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::WebSocket qw/:frames/;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my $agent = $t->agent(id => 'echo.1', port => 8081);

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ $agent->instance('echo') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(36);

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

        location / {
            corral_service_from  path;
            corral_websocket     agents;
            corral_max_message_size  1000;
            corral_close_timeout     300ms;
        }

        location = /status { corral_status; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# a Close passes as it is, with its answer

my $ws = open_ws();
is($ws->close(3001, 'my reason'), 3001, 'client closes');
is($agent->stats()->{closes}[-1], 3001, 'agent gets its code');
ok($ws->ended(), 'disconnected');

$ws = open_ws();
$ws->send_close();
is($ws->close_code(), 1005, 'close without a code');
is($agent->stats()->{closes}[-1], 1005, 'agent gets none');

$ws = open_ws();
$ws->send_text('!close 1011 broken');
is($ws->close_code(), 1011, 'agent closes');
is($ws->close_reason(), 'broken', 'with its reason');
ok(wait_for(sub { ($agent->stats()->{closes}[-1] // 0) == 1011 }),
    'agent gets the answer');

# the agent goes without a Close: the client is told 1001

$ws = open_ws();
$ws->send_text('!drop');
is($ws->close_code(), 1001, 'agent disconnects: 1001');
ok($ws->ended(), 'client is disconnected');

$ws = open_ws();
$ws->send_text('!reset');
is($ws->close_code(), 1011, 'agent resets: 1011');

# likewise the client

$ws = open_ws();
$ws->disconnect();
ok(wait_for(sub { ($agent->stats()->{closes}[-1] // 0) == 1001 }),
    'client disconnects: 1001');
ok(wait_for(sub { $agent->stats()->{open} == 0 }), 'agent is disconnected');

my $closes = @{ $agent->stats()->{closes} };
$ws = open_ws();
$ws->disconnect(reset => 1);
ok(wait_for(sub { @{ $agent->stats()->{closes} } == $closes + 1 }),
    'client resets: a close');
is($agent->stats()->{closes}[-1], 1001, 'with 1001');

# in the middle of a frame no Close can be sent: the connection just ends

$closes = @{ $agent->stats()->{closes} };
$ws = open_ws();
$ws->send_raw(substr $ws->frame(TEXT, 'x' x 500), 0, 200);
ok(wait_for(sub { $agent->stats()->{open} == 1 }), 'half a frame');
$ws->disconnect();
ok(wait_for(sub { $agent->stats()->{open} == 0 }), 'disconnected');
is(scalar @{ $agent->stats()->{closes} }, $closes, 'no close inside a frame');

# a message that is too big: 1009 before any of the excess has passed

$ws = open_ws();
my $messages = $agent->stats()->{messages};
$ws->send_binary('x' x 1000);
is(length($ws->read_message() // ''), 1000, 'largest message');
$ws->send_binary('x' x 1001);
is($ws->close_code(), 1009, 'too big: 1009');
is($agent->stats()->{messages}, $messages + 1, 'not passed');
is($agent->stats()->{closes}[-1], 1001, 'agent is told 1001');

$ws = open_ws();
$ws->send_raw($ws->frame(TEXT, 'x' x 600, fin => 0)
    . $ws->frame(CONT, 'x' x 600));
is($ws->close_code(), 1009, 'too big in fragments: 1009');

$ws = open_ws();
$ws->send_text('!send 2000');
is($ws->close_code(), 1011, 'too big from the agent: 1011 for the client');
ok(wait_for(sub { ($agent->stats()->{closes}[-1] // 0) == 1009 }),
    'and 1009 for the agent');

# bytes behind a Close do not pass

$ws = open_ws();
$messages = $agent->stats()->{messages};
$ws->send_raw($ws->frame(CLOSE, pack 'n', 1000) . $ws->frame(TEXT, 'late'));
is($ws->close_code(), 1000, 'close with a message behind it');
is($agent->stats()->{messages}, $messages, 'which does not pass');

# the agent does not answer a Close: after close_timeout both are gone

$agent->set(closes => 0);
$ws = open_ws();
$ws->send_close(1000);
ok($ws->ended(3), 'close without an answer ends all the same');
ok(wait_for(sub { $agent->stats()->{open} == 0 }), 'at the agent, too');
$agent->set(closes => 1);

# nor does the client

$ws = open_ws()->auto(0);
$ws->send_text('!close 1000');
is($ws->close_code(), 1000, 'client gets the close');
ok($ws->ended(3), 'and is disconnected without its answer');

# both at once

$ws = open_ws();
$ws->send_raw($ws->frame(TEXT, '!close 1000') . $ws->frame(CLOSE,
    pack 'n', 1000));
is($ws->close_code(), 1000, 'both at once');
ok($ws->ended(), 'and all is over');

# the agent is gone within a frame, so the client gets no Close, and says its
# own with its end in one packet: that end is seen

$ws = open_ws();
$agent->push_raw("\x81\x7e\x01\x00half");
$ws->read_some(1);
$agent->drop();
$ws->read_some(1);
setsockopt $ws->socket(), IPPROTO_TCP, TCP_CORK, 1;
$ws->send_close(1000);
$ws->shutdown_write();
ok(wait_for(sub { $t->instance('echo.1')->{active} == 0 }, 1),
    'an end behind a Close');

# each end was counted once

my $ok = wait_for(sub { $t->instance('echo.1')->{active} == 0 });
my $i = $t->instance('echo.1');
is($i->{closes_normal} + $i->{closes_other},
    $i->{connections}, 'each end counted');
cmp_ok($i->{closes_normal}, '>=', 4, 'normal ones apart');

###############################################################################

sub open_ws {
    my $ws = $t->websocket('/agents/echo/');
    die "no handshake: " . $ws->head() unless $ws->accepted();
    $ws->ask('!id');        # the agent is there
    return $ws;
}

###############################################################################
