#!/usr/bin/perl

# Two nodes on one Redis: a service is run by one of them, once.  When a node is
# lost nothing is removed: of its instances nothing is known, and when it is
# back they are found again.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Daemon;

my $a = Test::Corral::Daemon->new();
my $b = Test::Corral::Daemon->new(node => 'n2');

plan(tests => 19);

my $socket = $a->dir . '/redis.sock';
my $redis = fork() // die "fork: $!\n";

if (!$redis) {
    open STDOUT, '>', $a->dir . '/redis.out';
    exec 'redis-server', '--port', 0, '--unixsocket', $socket, '--save', '',
        '--dir', $a->dir or exit 99;
}

END { if ($redis) { local $?; kill 'KILL', $redis; waitpid $redis, 0 } }

wait_for(sub { -S $socket }) or die "Redis did not start\n";

$_->{conf}{redis} = "unix:$socket" for $a, $b;
$a->start();
$b->{conf}{hmac_key_file} = $a->dir . '/s/hmac.key';
$b->start();

###############################################################################

# whoever is asked, it runs once

$b->service(name => 'echo', command => $a->agent(), replicas => 2);
my @i = $a->wait_running('echo', 2);
is(scalar(@i), 2, 'two instances');
is(scalar(descendants($a->dir . '/agent.pl')), 2, 'two processes');
my $owner = $i[0]{node};
is($i[1]{node}, $owner, 'on one node');
my ($own, $other) = $owner eq 'n1' ? ($a, $b) : ($b, $a);

is($owner, 'n1', 'the leader');

# the other one scales it, and restarts one

$other->api('PUT', '/services/echo/scale', { replicas => 3 });
@i = $other->wait_running('echo', 3);
is(scalar(grep { $_->{node} eq $owner } @i), 3, 'all on that node');
kill 'KILL', $i[0]{pid};
ok($other->wait_instances('echo', sub { 3 == @_
    && 3 == (grep { $_->{state} eq 'running' } @_)
    && grep { $_->{incarnation} == 2 } @_ }), 'and it looks after them');

# it is lost: nothing is removed, no second copy

my %pid = map { $_->{instance_id} => $_->{pid} } $other->instances('echo');
my $t0 = time();
$own->kill('KILL');
my @l = $other->wait_instances('echo', sub {
    3 == grep { $_->{reason} eq 'node_lost' } @_ }, 25);
is(scalar(@l), 3, 'its instances are known to be of a lost node');
cmp_ok(time() - $t0, '>', 5, 'not before its lease ends');
is($l[0]{health}, 'unknown', 'nothing is known of them');
is($l[0]{state}, 'running', 'nothing is decided');
is(scalar(descendants($a->dir . '/agent.pl')), 3, 'they live on');
select undef, undef, undef, 1.5;
is(scalar(descendants($a->dir . '/agent.pl')), 3, 'no second copy is started');

# it is back

$own->start();
@l = $other->wait_instances('echo', sub {
    3 == grep { $_->{health} eq 'healthy' } @_ }, 20);
is(scalar(@l), 3, 'back: healthy');
is(join(' ', sort map { $_->{pid} } @l), join(' ', sort values %pid),
    'the same processes');

$b->kill('TERM');
is($b->{status}, 0, 'the other node ends');
is(scalar(descendants($a->dir . '/agent.pl')), 3, 'which harms nobody');

$a->finish();

###############################################################################
