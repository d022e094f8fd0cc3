#!/usr/bin/perl

# Redis is killed, frozen, emptied, and comes back with old data, while clients
# write: what was answered with 200 is there afterwards, in Redis, too, and what
# was not made was answered with 503 and Retry-After.  corrald is killed.

use warnings;
use strict;

use Test::More;
use FindBin;
use lib "$FindBin::Bin/lib";

use File::Path qw/remove_tree/;
use JSON::PP;
use Time::HiRes qw/sleep time/;

use Test::Corral::Rest;
use Test::Corral::Shim qw/slurp/;

my $d = Test::Corral::Rest->new(redis_timeout => '500ms')->start();
my $dir = $d->dir();

my %acked;
my ($n, $count) = (0);

# Writes for so many seconds, with something done to Redis in between.

sub write_while {
    my ($seconds, $do) = @_;

    my ($start, $done) = (time());
    $count = { 200 => 0, 503 => 0 };

    while (time() < $start + $seconds) {
        my $name = 's' . ++$n % 5;
        my $r = eval { $d->call('PUT', "/api/v1/services/$name?replace=1",
            { description => "$n" }) };

        $count->{ $r->{status} == 201 ? 200 : $r->{status} }++;
        $acked{$name} = $n if $r->{status} =~ /^20[01]$/;

        if ($r->{status} == 503) {
            $count->{unsaid}++ unless $r->{headers}{'retry-after'};
            sleep 0.05;
        }

        $do->(), $done = 1 if !$done && time() > $start + 0.5;
    }
}

sub ready {
    my $end = time() + 20;
    sleep 0.05 while time() < $end
        && $d->call('GET', '/readyz')->{status} != 200;
}

# What is wrong with what was acknowledged; '' for nothing.

sub lost {
    my ($what) = @_;

    ready();

    my $redis = $d->redis('corrald');
    my @lost;

    for (sort keys %acked) {
        my $doc = $d->call('GET', "/api/v1/services/$_")->{json};
        push @lost, "$_: acknowledged $acked{$_}, corrald has $doc->{description}"
            if ($doc->{description} // 0) < $acked{$_};

        my $text = $redis->command('HGET', $redis->key('services'),
            $doc->{service_id} // '-');
        my $kept = $text ? decode_json($text)->{description} : 'nothing';
        push @lost, "$_: corrald has $doc->{description}, Redis $kept"
            if $kept ne ($doc->{description} // '');
    }

    is(join('; ', @lost), '', "$what: nothing is lost");
    is($count->{unsaid}, undef, "$what: each 503 says when to try again");
}

sub forget_keys {
    my $redis = $d->redis('corrald');
    $redis->command('DEL', map { $redis->key($_) } @_);
}

###############################################################################

write_while(1, sub {});
lost('before');
cmp_ok($count->{200}, '>', 5, 'writes were made');
is($count->{503}, 0, 'and none refused');

# killed: the server is started again and reads its own file

write_while(3, sub { kill 'KILL', $d->redis_pid() });
lost('killed');
cmp_ok($count->{503}, '>', 0, 'some were refused');
unlike($d->log(), qr/restoring/, 'its own file was enough');

# reads go on meanwhile

kill 'STOP', $d->redis_pid();
my $start = time();
is($d->call('PATCH', '/api/v1/services/s1', { description => 'x' })->{status},
    503, 'frozen: a change is refused');
cmp_ok(time() - $start, '<', 5, 'in time');

my $r = $d->call('GET', '/api/v1/services/s1');
is($r->{status}, 200, 'frozen: reads go on');
like($r->{headers}{warning}, qr/^110 .*stale/, 'and say that they may be old');
is($d->call('GET', '/readyz')->{status}, 503, 'not ready');
is($d->call('GET', '/healthz')->{status}, 200, 'but alive');
kill 'CONT', $d->redis_pid();
ready();
isnt($d->call('GET', '/api/v1/services/s1')->{json}{description}, 'x',
    'what waited in the socket came too late');

my $pid = $d->redis_pid();
write_while(4, sub {
    kill 'STOP', $pid;
    if (!fork) { sleep 2; kill 'CONT', $pid; require POSIX; POSIX::_exit(0) }
});
wait;
lost('frozen');
is($d->redis_pid(), $pid, 'a frozen server is not replaced');

# emptied

my $epoch = $d->redis()->command('GET', $d->redis()->key('epoch'));
write_while(3, sub { forget_keys(qw/epoch revision revisions services
    instances names macs changes/) });
lost('emptied');
isnt($d->redis()->command('GET', $d->redis()->key('epoch')), $epoch,
    'it has a new epoch');
like($d->log(), qr/no epoch: restoring \d+ documents/, 'and was filled');

# back in time: with an old revision, as after a lost file

write_while(3, sub {
    my $redis = $d->redis('corrald');
    kill 'STOP', $d->redis_pid();
    remove_tree("$dir/s/redis/appendonlydir");
    kill 'KILL', $d->redis_pid();
});
lost('file lost');

# corrald killed: a new one takes over, the old lease does not hinder

$d->kill('KILL');
$d->start();
lost('corrald killed');
is($d->redis_pid(), $pid = $d->redis_pid(), 'Redis lives on');
cmp_ok($d->call('GET', '/api/v1/nodes')->{json}{items}[0]{epoch}, '>', 1,
    'the node has a later epoch');

# both killed, and Redis' data gone: the journal is enough

write_while(0.6, sub {});
$d->kill('KILL');
kill 'KILL', $d->redis_pid();
sleep 0.2;
remove_tree("$dir/s/redis/appendonlydir");
$d->start();
lost('all but the journal lost');

# a journal that was cut in the middle of a line

$d->kill('TERM');
kill 'KILL', $d->redis_pid();
sleep 0.2;
remove_tree("$dir/s/redis/appendonlydir");
open my $fh, '>>', "$dir/s/registry.journal" or die;
print $fh '{"kind":"service","id":"half';
close $fh;
$d->start();
lost('journal cut');
like($d->log(), qr/last line is not whole/, 'and it is said');

# a service that somebody else wrote is never started

my $redis = $d->redis('corrald');
my $doc = decode_json($redis->command('HGET', $redis->key('services'),
    $d->call('GET', '/api/v1/services/s1')->{json}{service_id}));
$redis->commit([ 'service', $doc->{service_id}, { %$doc,
    command => ['/bin/false'], desired => 'running' } ]);

my $end = time() + 5;
my $view;
do { $view = $d->call('GET', '/api/v1/services/s1')->{json}; sleep 0.05 }
    while $view->{trusted} && time() < $end;

ok(!$view->{trusted}, 'a document without our HMAC is not trusted');
like(join("\n", @{ $d->call('GET', '/api/v1/explain/s1')->{json}{lines} }),
    qr/does not carry the HMAC/, 'explained');
is(scalar @{ $d->call('GET', '/api/v1/services/s1/instances')->{json}{items} },
    0, 'nothing was started');

###############################################################################

$d->finish();

done_testing();
