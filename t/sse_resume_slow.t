#!/usr/bin/perl

# Server-sent events that are resumed by a client that reads slowly or not at
# all, in large events, and with a Redis that refuses: runs are put into Redis by
# hand, as docs/schema.md says.

###############################################################################

use warnings;
use strict;

use Test::More;
use IO::Select;
use Socket qw/SOL_SOCKET SO_RCVBUF pack_sockaddr_in inet_aton PF_INET
    SOCK_STREAM/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Store;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_redis redis-server/);
my $agent = $t->agent(id => 'a', socket => 'a.sock');
my $redis = $t->redis();
my $store = Test::Corral::Store->new($redis);

$t->write_file_expand('nginx.conf', <<"END")->plan(13);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone   corral 4m;
    corral_redis  "unix:$redis";

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  query;
            proxy_pass           http://agents;
        }

        location = /status { corral_status; }
    }
}

END

$store->epoch('first');
$store->commit($store->service('s', sse_resume => JSON::PP::true),
    $store->instance('s', 'a', $agent->address()));
$t->run();
$store->wait_acks(1, 1) // die "The gateway does not follow\n";

###############################################################################

# the run is over and all of it was asked for, but the client takes it slowly:
# its answer ends once, and the connection can be used again

my $run = run(1, 24, 400_000);
end($run, 24);

my $c = client();
$c->send(request("$run-0"));
ok(more_than(0), 'asked for');
ok(!more_than(3), 'not again, while the client reads nothing');
$c->send(request("$run-24"));

my $all = read_until($c, qr/\r\n0\r\n\r\nHTTP.*\r\n\r\n$/s);

is(scalar(() = $all =~ /^id: $run-\d+$/mg), 24, 'it gets all');
is(scalar(() = $all =~ /^0\r\n\r\n/mg), 1, 'and one end');
like($all, qr{\r\n0\r\n\r\nHTTP/1.1 204 No Content\r\n},
    'then what it asked for next');

# the run goes on: no more is asked for than the client takes

$run = run(2, 200, 100_000);
$c = client();
my $before = asked();
$c->send(request("$run-0"));
ok(more_than($before), 'asked for');
ok(wait_for(sub { !more_than(asked()) }, 8),
    'no more, while the client reads nothing');

$all = read_until($c, qr/^id: $run-200$/m);
is(scalar(() = $all =~ /^id: $run-\d+$/mg), 200, 'it gets all');
close $c;

# events of a megabyte

$run = run(3, 80, 1_000_000);
end($run, 80);

$c = client();
$c->send(request("$run-0"));
$all = read_until($c, qr/\r\n0\r\n\r\n$/);
is(scalar(() = $all =~ /^id: $run-\d+$/mg), 80, 'large events');
unlike($t->read_file('error.log'), qr/corral: Redis .*64 MB/,
    'without an answer that is too large');

# what Redis refuses is not lost, and may be there the next time

$run = sprintf '%032x', 4;
$store->command('SET', key($run), 'no stream');
$c = client();
$c->send(request("$run-7"));
$all = read_until($c, qr/\r\n0\r\n\r\n$/);
like($all, qr/^retry: 1000$/m, 'come again');
unlike($all, qr/^event: gap$/m, 'nothing is lost');
unlike($all, qr/^id:/m, 'with the same id');

###############################################################################

sub key { return $store->key('run', 'id-s', $_[0]) }

# a run of n events, which goes on; the first ones are small, as the first answer
# has to come within 20 ms

sub run {
    my ($number, $n, $size) = @_;

    my $run = sprintf '%032x', $number;

    $store->command('XADD', key($run), '1-0', 'start', '1');
    $store->command('XADD', key($run), $_ + 1 . '-0', 'event',
        'data: ' . 'x' x ($_ > 4 ? $size : 10) . "\n") for 1 .. $n;

    return $run;
}

sub end { $store->command('XADD', key($_[0]), $_[1] + 2 . '-0', 'end', 'whole') }

# one that takes little at a time

sub client {
    socket my $c, PF_INET, SOCK_STREAM, 0 or die "socket: $!";
    setsockopt $c, SOL_SOCKET, SO_RCVBUF, 16384 or die "setsockopt: $!";
    connect $c, pack_sockaddr_in(port(8080), inet_aton('127.0.0.1'))
        or die "connect: $!";
    bless $c, 'IO::Socket::INET';
    return $c;
}

sub request {
    return "GET /?service=s HTTP/1.1\r\nHost: localhost\r\n"
        . "Last-Event-ID: $_[0]\r\n\r\n";
}

sub read_until {
    my ($c, $re) = @_;
    my $all = '';

    while (substr($all, length $all > 400 ? -400 : 0) !~ $re) {
        last unless IO::Select->new($c)->can_read(5);
        last unless sysread $c, $all, 262144, length $all;
    }

    return $all;
}

# questions for runs, as Redis has counted them

sub asked {
    my ($n) = $store->command('INFO', 'commandstats')
        =~ /^cmdstat_xrange:calls=(\d+)/m;
    return $n // 0;
}

sub more_than {
    my ($n) = @_;
    return wait_for(sub { asked() > $n }, 2);
}

###############################################################################
