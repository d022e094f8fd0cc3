#!/usr/bin/perl

# Tests for the limits of a WebSocket: messages and bytes a second, sizes by
# direction, and how long it may live.  Each has its close code, its line in the
# log and its metric.

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

use Time::HiRes qw/time/;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_metrics
    corral_websocket/);

my $agent = $t->agent(id => 'echo.1', port => 8081);

my %services = (
    echo => {},
    rate => { message_rate => 1, message_burst => 3 },
    slow => { message_rate => 20, message_burst => 4,
        message_rate_action => 'delay' },
    crawl => { message_rate => 1, message_rate_action => 'delay',
        ping_interval => '200ms', ping_timeout => '300ms' },
    bytes => { byte_rate => 100000 },
    out => { byte_rate_out => 100000 },
    size => { max_message_size => 1000, max_message_size_out => 2000 },
    both => { max_message_size => 1000 },
    life => { max_lifetime => '2s' },
);

$t->state_file(
    services => [ map { { name => $_, %{ $services{$_} } } } keys %services ],
    instances => [ map { $agent->instance($_, id => "$_.1") } keys %services ]);

$t->write_file_expand('nginx.conf', <<'EOC')->plan(50);

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

        corral_close_timeout         500ms;
        corral_message_rate          1 burst=2;

        location / {
            corral_service_from  path;
            corral_websocket     agents;
            corral_message_rate  0;
        }

        location /inherit/ {
            corral_service       echo;
            corral_websocket     agents;
            corral_max_message_size_out  3000;
        }

        location = /status  { corral_status; }
        location = /metrics { corral_metrics; }
    }
}

EOC

$t->run()->wait_for_revision(1);

###############################################################################

# messages: the burst passes, the next one closes, before it has passed

my $ws = open_ws('rate');
is($ws->numbered(3), '', 'a burst of three');
my $seen = $agent->stats()->{messages};
$ws->send_raw(substr $ws->frame(TEXT, 'one too many' x 50), 0, 200);
is($ws->close_code(), 1008, 'one too many: 1008');
ok($ws->ended(), 'disconnected');
is($agent->stats()->{messages}, $seen, 'it did not pass');
is($agent->stats()->{closes}[-1], 1001, 'agent is told 1001');
is(metric('closes_rate', 'rate'), 1, 'counted');
ok($t->wait_for_log(qr/client sent more WebSocket messages than message_rate/),
    'logged');

# many at once, in one read: the burst alone passes

$ws = open_ws('rate');
$seen = $agent->stats()->{messages};
$ws->send_raw(join '', map { $ws->frame(TEXT, "m$_") } 1 .. 50);
is($ws->close_code(), 1008, 'fifty at once: 1008');
is($agent->stats()->{messages}, $seen + 3, 'three of them passed');

# what counts is messages: not fragments, not control frames, not bytes

$ws = open_ws('rate');
$ws->send_raw($ws->frame(TEXT, 'a', fin => 0)
    . join('', map { $ws->frame(CONT, 'b', fin => 0) . $ws->frame(PING, "p$_") }
        1 .. 9)
    . $ws->frame(CONT, 'c'));
is($ws->read_message(), 'a' . 'b' x 9 . 'c', 'ten fragments are one');
is(length($ws->ask('x' x 100000) // ''), 100000, 'so is one of many reads');
is($ws->ask('3'), '3', 'the third');
$ws->send_text('4');
is($ws->close_code(), 1008, 'and no fourth');

# tokens come back

$ws = open_ws('rate');
is($ws->numbered(3), '', 'a burst again');
my $start = time();
wait_for(sub { time() - $start > 1.2 }, 3);
is($ws->ask('later'), 'later', 'one more after a second');
is($ws->close(), 1000, 'and a normal close');

# the directive, inherited by a location; another one has undone it

$ws = $t->websocket('/inherit/');
is($ws->numbered(2), '', 'burst of the directive');
$ws->send_text('3');
is($ws->close_code(), 1008, 'its limit');

$ws = open_ws('echo');
is($ws->numbered(20), '', 'no limit where it is 0');
$ws->close();

# the other way: reading is slowed down and nothing is lost

$ws = open_ws('slow');
$start = time();
$ws->send_raw(join '', map { $ws->frame(TEXT, "n$_") } 1 .. 14);
is(join(' ', map { $ws->read_message() // '-' } 1 .. 14),
    join(' ', map { "n$_" } 1 .. 14), 'all of them, in order');
cmp_ok(time() - $start, '>', 0.35, 'not at once');
cmp_ok(time() - $start, '<', 5, 'nor never');
cmp_ok(metric('delays', 'slow'), '>=', 1, 'counted');
is(metric('closes_rate', 'slow'), 0, 'none closed');
ok($t->wait_for_log(qr/client sends more than its rate allows/), 'logged');
is($ws->close(), 1000, 'closed');

# a delayed client is not dead, its agent's messages pass, and the agent's
# Close does not wait for what it has not been sent

$ws = open_ws('crawl');
$ws->send_raw(join '', map { $ws->frame(TEXT, "n$_") } 1 .. 60);
is($ws->read_message(), 'n1', 'the first');
$start = time();
wait_for(sub { $ws->read_message(0.1); time() - $start > 1.5 }, 3);
ok(!$ws->ended(0), 'no answer to pings, but it is not read');
$agent->push_text('from the agent');
like(join(' ', map { $ws->read_message() // '-' } 1, 2), qr/from the agent/,
    'the other direction is free');
$start = time();
$agent->push_raw(pack 'CCn', 0x88, 2, 1000);
is($ws->close_code(), 1000, 'the Close of the agent passes');
ok($ws->ended(6), 'and that is the end');
cmp_ok(time() - $start, '<', 4, 'long before the minute is over');

# bytes, from the client and from the agent

$ws = open_ws('bytes');
$start = time();
$ws->send_binary('x' x 60000) for 1 .. 5;
is(join(' ', map { length($ws->read_message() // '') } 1 .. 5),
    join(' ', (60000) x 5), 'all bytes');
cmp_ok(time() - $start, '>', 1.2, 'at the rate');
cmp_ok(metric('delays', 'bytes'), '>=', 1, 'counted');
is($ws->close(), 1000, 'closed');

$ws = open_ws('out');
$start = time();
$ws->send_text('!send 2500') for 1 .. 100;
is(scalar(grep { length($ws->read_message() // '') == 2500 } 1 .. 100), 100,
    'all bytes of the agent');
cmp_ok(time() - $start, '>', 0.8, 'at the rate');
is($ws->close(), 1000, 'closed');

# sizes by direction

$ws = open_ws('size');
is(length($ws->ask('!send 2000')), 2000, 'the larger one of the agent');
$ws->send_text('!send 2001');
is($ws->close_code(), 1011, 'beyond it');
is(metric('closes_size', 'size'), 1, 'counted');

$ws = open_ws('both');
$ws->send_text('!send 1001');
is($ws->close_code(), 1011, 'one size of the service is for both');

$ws = $t->websocket('/inherit/');
is(length($ws->ask('!send 3000')), 3000, 'the directive for agents');
$ws->send_text('!send 3001');
is($ws->close_code(), 1011, 'beyond it');

# lifetime: at a quiet moment within its last tenth

$start = time();
$ws = open_ws('life');
my $half = open_ws('life');

$half->send_raw($half->frame(TEXT, 'no end', fin => 0));

is($ws->close_code(), 1012, 'lived long enough: 1012');
cmp_ok(time() - $start, '>', 1.75, 'in the last tenth');
is($ws->close_reason(), 'max_lifetime', 'and says why');
is($half->close_code(), 1012, 'also within a message');
cmp_ok(time() - $start, '<', 4, 'soon after');

###############################################################################

sub open_ws {
    my ($service) = @_;
    my $ws = $t->websocket("/agents/$service/");
    die "no handshake: " . $ws->head() unless $ws->accepted();
    return $ws;
}

sub metric {
    my ($name, $service) = @_;
    my ($n) = http_get('/metrics')
        =~ /^corral_service_${name}_total\{service="$service"\} (\d+)/m;
    return $n // -1;
}

###############################################################################
