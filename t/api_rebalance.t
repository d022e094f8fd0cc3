#!/usr/bin/perl

# Tests for rebalancing by request: REST and the command line, what they answer
# and refuse, and what a service document may say of it.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Stack;

use JSON::PP;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $s = Test::Corral::Stack->new($t);
my $d = $s->d();

my $agent = $t->agent(id => 'ext', port => 8081);

$t->plan(30 + 3);
$s->start(2);

###############################################################################

# documents

my %service = (name => 'ext', desired => 'running', replicas => 0,
    failover => 'reattach', rebalance_idle => '0s', rebalance_rate => 100);

for ([ { rebalance => 'reattach', failover => 'close' }, 'needs .*failover' ],
    [ { rebalance => 'on' }, 'off.*reattach.*close' ],
    [ { rebalance_rate => 0 }, '1 to 100000' ],
    [ { rebalance_tolerance => 101 }, '0 to 100' ],
    [ { rebalance_idle => '2h' }, '3600000' ],
    [ { rebalance_sessions => 'yes' }, 'true or false|boolean' ])
{
    my $r = $d->api('POST', '/services', { %service, %{ $_->[0] } });
    is($d->{http}, 422, 'refused: ' . encode_json($_->[0]));
    like(encode_json($r), qr/$_->[1]/, 'and why');
}

my $doc = $d->api('POST', '/services', \%service);
is($d->{http}, 201, 'created');
is("$doc->{rebalance} $doc->{rebalance_tolerance}", 'off 10', 'off by default');

# what is refused

my $path = '/services/ext/actions/rebalance';

my $r = $d->api('POST', $path, { rate => 5 });
is($d->{http}, 422, 'an unknown member');
like($r->{errors}[0]{detail} // encode_json($r), qr/"rate" is not a member/, 'and why');
$d->api('POST', $path, { dry_run => 'yes' });
is($d->{http}, 422, 'dry_run is no word');
$d->api('POST', '/services/nobody/actions/rebalance', {});
is($d->{http}, 404, 'no such service');
$r = $d->api('POST', $path, {});
is($d->{http}, 409, 'a service without instances');
like($r->{detail}, qr/nothing is moved: the service does not run/, 'and why');

# ten clients on one instance, then there are two

register('ext.1');
my @ws = map { $t->websocket('/agents/ext/', timeout => 10) } 1 .. 10;
is(scalar(grep { $_->ask('!id') eq 'ext' } @ws), 10, 'ten clients');
register('ext.2');

$r = $d->api('POST', $path, { dry_run => JSON::PP::true });
is("$d->{http} $r->{planned} $r->{movable} $r->{workers} $r->{answered}",
    '200 5 10 2 2', 'a dry run');
my ($rc, $out, $err) = $d->ctl('rebalance', 'ext', '--dry-run');
is($rc, 0, 'the same by the command line');
like("$out$err", qr/ext: 5 connections would go to other instances, 10 could/,
    'which says so');
is_deeply(counts(), [ 10, 0 ], 'nothing has changed');

($rc, $out) = $d->ctl('rebalance', 'ext', '-o', 'json');
is(decode_json($out)->{planned}, 5, 'asked for, as JSON');
ok(wait_for(sub { "@{ counts() }" eq '5 5' }, 20), 'half of them go');
is(scalar(grep { $_->ask('there') ne 'there' } @ws), 0, 'nobody notices');

(undef, $out) = $d->ctl('events', '-o', 'json');
my ($event) = grep { $_->{type} eq 'rebalance' }
    map { eval { decode_json($_) } // () } split /\n/, $out;
is($event->{data}{planned}, 5, 'an event') or diag $out;

($rc, $out, $err) = $d->ctl('rebalance', 'nobody');
is($rc, 3, 'no such service');

$s->finish();

###############################################################################

sub register {
    my ($id) = @_;
    $d->api('POST', '/services/ext/instances', { instance_id => $id,
        address => $agent->address(), ttl => '1h' });
    wait_for(sub { http_get('/agents/ext/') =~ m!^HTTP/1.1 200! }, 5);
    wait_for(sub { defined $s->counted('ext')->{$id} }, 5);
}

sub counts {
    my $counted = $s->counted('ext');
    return [ map { $counted->{$_} // 0 } qw/ext.1 ext.2/ ];
}

###############################################################################
