#!/usr/bin/perl

# Rules change under load: a thousand changes through the API, while WebSockets
# and HTTP clients go on.  No request fails, no connection is dropped, no request
# that begins after a change is served by the rule before it, and each change is
# live on all workers within milliseconds.

###############################################################################

use warnings;
use strict;

use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Stack;
use Test::Corral::Store;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $s = Test::Corral::Stack->new($t);
my $d = $s->d();

my $changes = 1000;
my $others = 500;

$t->plan(14 + 3);
$s->start(2, 'rules path query');

###############################################################################

my @agents = map { $t->agent(id => $_, port => $_ eq 'a' ? 8091 : 8092) } qw/a b/;

for my $n (0, 1) {
    my $name = (qw/a b/)[$n];
    $d->api('POST', '/services', { name => $name, desired => 'running' });
    $d->api('POST', "/services/$name/instances", { instance_id => $name,
        address => '127.0.0.1:' . port(8091 + $n), ttl => '1h',
        health => 'healthy' });
}

# rules that no request here matches: a change must not cost by their number

$d->api('POST', '/routes', { name => "other $_", priority => $_,
    target_services => [ 'a' ], conditions => [
        { field => 'header.x-customer', operator => 'equals',
            value => "customer $_" } ] }) for 1 .. $others;

my $rule = $d->api('POST', '/routes?wait=applied', { name => 'live',
    priority => 1000, target_services => [ 'a' ],
    conditions => [ { field => 'path', operator => 'starts_with',
        value => '/live' } ] });
is($d->{http}, 201, 'the rule');

like(http_get('/live'), qr/ 200 .*"agent":"a"/s, 'and it works');

# the load: WebSockets that speak, and two processes of HTTP requests

my @ws = map { $t->websocket('/live/ws') } 1 .. 20;
is(scalar(grep { $_->ask('hello') eq 'hello' } @ws), 20, 'WebSockets');

my @load;
push @load, load() for 1 .. 2;

# a change is live when both workers have acknowledged its revision

my $password = slurp($d->dir() . '/s/redis.corrald.password');
chomp $password;

my $redis = Test::Corral::Store->new($d->dir() . '/r/redis.sock',
    cluster => 'test');
$redis->command('AUTH', 'corrald', $password);

my ($refused, $stale, $lost, @ms) = (0, 0, 0);

for my $i (1 .. $changes) {
    my $to = $i % 2 ? 'b' : 'a';
    my $begin = time();

    my $r = $d->api('PATCH', '/routes/live', { target_services => [ $to ],
        description => "change $i" });
    $refused++ if $d->{http} != 200;

    my $revision = $r->{revision};

    push @ms, defined $redis->wait_acks(2, $revision, 5)
        ? (time() - $begin) * 1000 : 10000;

    # what begins now is served by the new rule

    if ($i % 20 == 0) {
        $stale++ if http_get('/live') !~ /"agent":"$to"/;
        $lost += grep { ($_->ask("ping $i") // '') ne "ping $i" } @ws[0 .. 3];
    }
}

my ($asked, $failed) = (0, 0);

# all of them: each child holds the ends of those before it

close $_->{stop} for @load;

for my $l (@load) {
    my ($n, $bad) = stop($l);
    $asked += $n;
    $failed += $bad;
}

@ms = sort { $a <=> $b } @ms;
note(sprintf '%d changes beside %d rules, from the PATCH to the acknowledgement'
    . ' of 2 workers: median %.1f ms, p99 %.1f ms, worst %.1f ms; %d requests',
    $changes, $others, $ms[$changes / 2], $ms[$changes * 0.99], $ms[-1],
    $asked);

is($refused, 0, 'all changes were taken');
cmp_ok($ms[$changes / 2], '<', 50, 'live on all workers within 50 ms');
cmp_ok($ms[$changes * 0.99], '<', 500, 'hardly one is late');
cmp_ok($asked, '>', 200, 'requests were made meanwhile');
is($failed, 0, 'none failed');
is($stale, 0, 'none was served by a rule from before');
is($lost, 0, 'no message was lost');
is(scalar(grep { $_->ask('still') eq 'still' } @ws), 20,
    'no connection was dropped');
is($t->status()->{rules}, $others + 1, 'all rules are there');
unlike($t->read_file('error.log'), qr/\[(?:error|crit|alert)\]/,
    'nothing in the log');
is(scalar(grep { $_->close() == 1000 } @ws), 20, 'closed');

$s->finish();

###############################################################################

# a child that asks until its pipe is closed, and then says what it saw

sub load {
    pipe my $stop_r, my $stop_w or die;
    pipe my $said_r, my $said_w or die;

    my $pid = fork // die "fork: $!\n";

    if ($pid) {
        close $stop_r;
        close $said_w;
        return { pid => $pid, stop => $stop_w, said => $said_r };
    }

    close $stop_w;
    close $_->{stop} for @load;
    $SIG{PIPE} = 'IGNORE';

    my ($n, $bad) = (0, 0);
    my $select = IO::Select->new($stop_r);

    until ($select->can_read(0)) {
        my $c = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . port(8080));
        my $answer = '';

        if ($c) {
            print $c "GET /live HTTP/1.1\r\nHost: localhost\r\n"
                . "Connection: close\r\n\r\n";
            local $/;
            $answer = <$c> // '';
        }

        $n++;
        $bad++ if $answer !~ m{^HTTP/1.1 200 .*"agent":"[ab]"}s;
        Time::HiRes::sleep(0.005);
    }

    syswrite $said_w, "$n $bad\n";
    POSIX::_exit(0);
}

sub stop {
    my ($l) = @_;

    my $line = readline($l->{said}) // '0 1';
    waitpid $l->{pid}, 0;

    return split ' ', $line;
}

###############################################################################
