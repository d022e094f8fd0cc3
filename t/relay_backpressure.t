#!/usr/bin/perl

# Tests for back-pressure: a side that does not read stops the other one, and the
# gateway does not buffer in its place.

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

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my $agent = $t->agent(id => 'echo.1', port => 8081);

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ $agent->instance('echo') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(8);

%%TEST_GLOBALS%%

worker_processes  1;

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
            corral_ping_interval  0;
        }

        location = /status { corral_status; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

my ($worker) = $t->workers();
my $total = 40_000_000;

# something small first, so that what a worker allocates once is there

$t->websocket('/agents/echo/')->close();

# the client does not read: the agent's 40 MB stay with the agent

my $before = rss();
my $ws = $t->websocket('/agents/echo/', rcvbuf => 65536);
$ws->send_text("!send $total");
stalled(sub { $agent->stats()->{out} }, 1);

cmp_ok($agent->stats()->{out}, '<', $total / 2, 'agent is stopped');
cmp_ok(rss() - $before, '<', 2000, 'worker holds little of it');

my $f = $ws->read_frame(30);
is($f ? length $f->{payload} : 0, $total, 'all comes when it is read');
$ws->disconnect();

# the agent does not read: the client is stopped

$ws = $t->websocket('/agents/echo/');
$ws->ask('!id');
$agent->set(stall => 1, echo => 0);
$before = rss();

my $frame = $ws->frame(BINARY, 'x' x $total);
my $sent = $ws->send_raw($frame, 1);

cmp_ok($sent, '<', $total / 2, 'client is stopped');
cmp_ok(rss() - $before, '<', 2000, 'worker holds little of it, either');

$agent->set(stall => 0);
$sent += $ws->send_raw(substr($frame, $sent), 30);
is($sent, length $frame, 'client goes on when the agent reads');
ok(wait_for(sub {
    my $last = ($agent->frames())[-1];
    $last && $last->{size} == $total
}, 20), 'all has come');

# another connection of the same worker was not held up

$agent->set(echo => 1);
my $stalled = $t->websocket('/agents/echo/', rcvbuf => 65536);
$stalled->send_text("!send $total");
stalled(sub { $agent->stats()->{out} }, 1);
is($t->websocket('/agents/echo/')->numbered(20), '', 'others are served');
$stalled->disconnect();

###############################################################################

# resident memory of the worker, in kB

sub rss {
    open my $fh, '<', "/proc/$worker/status" or die "No worker: $!\n";
    my ($kb) = join('', <$fh>) =~ /^VmRSS:\s+(\d+)/m;
    return $kb;
}

# waits until a number stays the same for 300 ms

sub stalled {
    my ($code, $least) = @_;

    my ($last, $same) = (-1, 0);

    return wait_for(sub {
        my $now = $code->();
        $same = $now == $last && $now >= $least ? $same + 1 : 0;
        $last = $now;
        return $same >= 15;
    }, 10);
}

###############################################################################
