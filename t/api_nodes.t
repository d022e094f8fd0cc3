#!/usr/bin/perl

# Two nodes and one Redis of somebody else, over TCP with a password: both see
# the same, writers at both meet, one of them leads, and a second corrald of one
# name ends the first.

use warnings;
use strict;

use Test::More;
use FindBin;
use lib "$FindBin::Bin/lib";

use File::Temp qw/tempdir/;
use IO::Socket::INET;
use POSIX qw/:sys_wait_h/;
use Time::HiRes qw/sleep time/;

use Test::Corral::Rest;
use Test::Corral::Shim qw/slurp wait_for/;

my $dir = tempdir('corral-nodes-XXXXXXXX', TMPDIR => 1, CLEANUP => 1);
my $port = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)
    ->sockport();
my $test = $$;
my $redis = fork() // die;

if ($redis == 0) {
    open STDOUT, '>', "$dir/redis.log";
    exec 'redis-server', '--port', $port, '--bind', '127.0.0.1', '--dir', $dir,
        '--requirepass', 'p@ss/word', '--save', '' or POSIX::_exit(99);
}

END { if ($$ == $test && $redis) { kill 'KILL', $redis; local $?; waitpid $redis, 0 } }

wait_for(sub { IO::Socket::INET->new("127.0.0.1:$port") }, 5)
    or plan(skip_all => 'redis-server did not start');

my $key = 'k' x 40;
my ($i, @d) = (0);

sub node {
    my ($name, %conf) = @_;

    my $file = "$dir/key" . ++$i;
    open my $fh, '>', $file or die;
    print $fh "$key\n";
    close $fh;

    return Test::Corral::Rest->new(node => $name, hmac_key_file => $file,
        redis => "redis://:p%40ss%2Fword\@127.0.0.1:$port/3", %conf)->start();
}

my ($a, $b) = (node('a'), node('b'));

sub both {
    my ($what, $sub) = @_;
    ok(wait_for(sub { $sub->($a) && $sub->($b) }, 5), $what);
}

###############################################################################

is($a->call('POST', '/api/v1/services', { name => 's' })->{status}, 201,
    'made at one');
ok(wait_for(sub { $b->call('GET', '/api/v1/services/s')->{status} == 200 }, 5),
    'seen at the other');
ok($b->call('GET', '/api/v1/services/s')->{json}{trusted},
    'and trusted: the key is the same');

# writers at both

my $etag = $b->call('GET', '/api/v1/services/s')->{headers}{etag};
my ($x, $y) = ($a->connect(), $b->connect());
$x->syswrite($a->request('PATCH', '/api/v1/services/s', { description => 'a' },
    'If-Match' => $etag));
$y->syswrite($b->request('PATCH', '/api/v1/services/s', { description => 'b' },
    'If-Match' => $etag));
is(join(' ', sort map { $_->{status} } $a->parse($a->rest_of($x)),
    $b->parse($b->rest_of($y))), '200 412', 'one of two nodes wins');

for my $n (1 .. 10) {
    my ($x, $y) = ($a->connect(), $b->connect());
    $x->syswrite($a->request('PATCH', '/api/v1/services/s',
        { labels => { "a$n" => '1' } }));
    $y->syswrite($b->request('PATCH', '/api/v1/services/s',
        { labels => { "b$n" => '1' } }));
    $a->rest_of($x);
    $b->rest_of($y);
}

both('without a revision both are merged', sub {
    keys %{ $_[0]->call('GET', '/api/v1/services/s')->{json}{labels} } == 20
});

# events of one at the other

my $s = $b->stream('/api/v1/events');
$b->until($s, qr/retry/);
$a->call('PATCH', '/api/v1/services/s', { description => 'x' });
like($b->until($s, qr/service_updated/), qr/service_updated/,
    'events reach the other');
close $s;

# leader

sub leaders {
    scalar grep { $_->call('GET', '/api/v1/info')->{json}{leader} } $a, $b;
}

ok(wait_for(sub { leaders() == 1 }, 5), 'one leads');
my ($first, $second) = $a->call('GET', '/api/v1/info')->{json}{leader}
    ? ($a, $b) : ($b, $a);
$first->kill('KILL');
ok(wait_for(sub { $second->call('GET', '/api/v1/info')->{json}{leader} }, 10),
    'the other follows');
ok(wait_for(sub { grep { $_->{status} eq 'lost' }
    @{ $second->call('GET', '/api/v1/nodes')->{json}{items} } }, 15),
    'a node without a lease is lost');
like($second->until($second->stream('/api/v1/events?follow=false'),
    qr/node_lost/), qr/node_lost/, 'an event');
$first->start();
ok(wait_for(sub { @{[ grep { $_->{status} eq 'up' }
    @{ $second->call('GET', '/api/v1/nodes')->{json}{items} } ]} == 2 }, 5),
    'and back');

# a second corrald of the same name

my $twin = node('a');
my $status;
ok(wait_for(sub { waitpid($a->{pid}, WNOHANG) == $a->{pid}
    && ($status = $? >> 8, 1) }, 10), 'the first of one name ends');
is($status, 1, 'with an error');
like($a->log(), qr/run by another corrald, which started later/, 'and says why');
delete $a->{pid};
is($twin->call('GET', '/readyz')->{status}, 200, 'the later one stays');

# another key

my $stranger = node('c', hmac_key_file => do {
    open my $fh, '>', "$dir/other" or die;
    print $fh 'x' x 40;
    "$dir/other";
});
ok(!$stranger->call('GET', '/api/v1/services/s')->{json}{trusted},
    'with another key it is not trusted');

unlike($_->log(), qr/p(?:@|%40)ss/, 'the password is not in the log')
    for $a, $b, $twin;

# one state directory

my $out = do {
    my $build = $ENV{CORRAL_BUILD} // "$FindBin::Bin/../build/release";
    `$build/corrald --config $b->{dir}/corrald.yaml 2>&1`;
};
is($? >> 8, 1, 'a second corrald of one directory does not start');
like($out, qr/another corrald uses "\Q$b->{dir}\E/, 'and says why');

###############################################################################

$stranger->finish();
$twin->finish();
$b->finish();

done_testing();
