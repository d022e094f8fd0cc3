#!/usr/bin/perl

# Tests for corral_redis with a large registry: the full load of 1,000 services
# and 10,000 instances does not stop the event loop, and a worker that starts
# later has it from the zone.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Store;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

use IO::Socket::INET;
use Time::HiRes qw/time sleep/;

my $t = Test::Corral->new()->has(qw/corral corral_redis redis-server/);

my $store = Test::Corral::Store->new($t->redis());

$t->write_file_expand('nginx.conf', <<'EOT')->plan(10);

%%TEST_GLOBALS%%

worker_processes  1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 32m;
    corral_redis       unix:%%TESTDIR%%/redis.8379.sock;
    corral_state_file  %%TESTDIR%%/gateway.state;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        access_log          off;
        keepalive_requests  1000000;

        location / {
            corral_service_from  path;
            proxy_pass           http://agents;
        }

        location = /status { corral_status; }

        location = /ping { return 204; }
    }
}

EOT

# sanitizers make everything slower: there the figure says nothing

my $limit = $Test::Corral::KIND eq 'release' ? 5 : 500;

my @documents = (map({ $store->service("s$_") } 1 .. 1000),
    map({ $store->instance('s' . (1 + $_ % 1000), "i$_", "127.0.0.1:$_") }
        1 .. 10000));

$t->run();

# a client that asks all the time through the worker that loads: how long does
# the longest answer take?

pipe my $reader, my $writer;

my $pid = $t->run_daemon(sub {
    close $reader;
    my $s = IO::Socket::INET->new('127.0.0.1:' . port(8080)) or die;
    my ($run, @ms) = (1);
    local $SIG{TERM} = sub { $run = 0 };

    while ($run) {
        my $start = time();
        syswrite $s, "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n";
        sysread $s, my $buf, 4096 or last;
        push @ms, 1000 * (time() - $start);
        select undef, undef, undef, 0.0005;
    }

    @ms = sort { $a <=> $b } @ms;
    syswrite $writer, sprintf "%d %.3f %.3f %.3f\n", scalar @ms,
        $ms[@ms / 2], $ms[@ms * 0.999], $ms[-1];
});

close $writer;

for (@documents) {
    my ($kind, $id, $document) = @$_;
    $_ = [ 'HSET', $store->key("${kind}s"), $id,
        JSON::PP->new->encode($document) ];
}

$store->pipeline(@documents);
$store->command('SET', $store->key('revision'), 1);

my $start = time();
$store->epoch('first');

ok(defined $store->wait_acks(1, 1, 60), 'loaded');
note(sprintf 'from the epoch to the acknowledgement: %.0f ms',
    1000 * (time() - $start));

# with what is done after it: the image and the file

ok(wait_for(sub { -s $t->testdir() . '/gateway.state' }, 20), 'saved');

$t->stop_daemon($pid);

my ($n, $median, $most, $worst) = split / /, <$reader>;
note("$n requests meanwhile: median $median ms, 99.9 % $most ms, "
    . "worst $worst ms");

cmp_ok($n, '>', 100, 'the client was there');
cmp_ok($worst, '<', $limit, 'the event loop was not stopped');

my ($lease) = values %{ $store->workers() };
is($lease->{services}, 1000, 'services');
is($lease->{instances}, 10000, 'instances');

# a new worker has it from the zone, before it has asked Redis

$store->forget();
$t->reload();

like($t->wait_for_log(qr/registry loaded from image: .*/),
    qr/revision 1, 1000 services, 10000 instances/, 'image of the zone');

ok(defined $store->wait_acks(1, 1), 'served by the new worker');

unlike($t->read_file('error.log') =~ s/.*loaded from image//sr,
    qr/loaded from Redis/, 'and not loaded again');

# the state file is whole

my ($head) = split /\n/, $t->read_file('gateway.state'), 2;
like($head, qr/"lines":11000\b/, 'the state file has all of it');

###############################################################################
