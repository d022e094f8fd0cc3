#!/usr/bin/perl

# Many writers at once: who has a revision loses once, who has none is merged,
# a name has one owner, a key has one answer.

use warnings;
use strict;

use Test::More;
use FindBin;
use lib "$FindBin::Bin/lib";

use Test::Corral::Rest;

my $d = Test::Corral::Rest->new()->start();

sub counts { my %n; $n{ $_->{status} }++ for @_; return \%n }

###############################################################################

my $r = $d->call('POST', '/api/v1/services', { name => 'a' });
my $etag = $r->{headers}{etag};

is_deeply(counts($d->at_once(map { [ 'PATCH', '/api/v1/services/a',
    { description => "$_" }, 'If-Match' => $etag ] } 1 .. 20)),
    { 200 => 1, 412 => 19 }, 'one of twenty has the newest revision');

is_deeply(counts($d->at_once(map { [ 'PATCH', '/api/v1/services/a',
    { labels => { "l$_" => 'x' } } ] } 1 .. 30)),
    { 200 => 30 }, 'without a revision all are taken');
is(keys %{ $d->call('GET', '/api/v1/services/a')->{json}{labels} }, 30,
    'and none is lost');

is_deeply(counts($d->at_once(map { [ 'POST', '/api/v1/services',
    { name => 'race' } ] } 1 .. 20)), { 201 => 1, 409 => 19 },
    'a name has one owner');

# rename into a name that is being taken

$d->call('POST', '/api/v1/services', { name => "n$_" }) for 1 .. 5;
is_deeply(counts($d->at_once(map { [ 'PATCH', "/api/v1/services/n$_",
    { name => 'new' } ] } 1 .. 5)), { 200 => 1, 409 => 4 }, 'also by rename');
is($d->call('GET', '/api/v1/services/new')->{status}, 200, 'it has it');

# restarts are counted

my $before = $d->call('GET', '/api/v1/services/a')->{json}{generation};
$d->at_once(map { [ 'POST', '/api/v1/services/a/actions/restart' ] } 1 .. 10);
is($d->call('GET', '/api/v1/services/a')->{json}{generation}, $before + 10,
    'ten restarts are ten generations');
$d->call('POST', '/api/v1/services/a/stop');

# idempotency

my @same = map { [ 'POST', '/api/v1/services', { name => 'once' },
    'Idempotency-Key' => 'k1' ] } 1 .. 10;

my $n = counts($d->at_once(@same));
is($n->{201} + ($n->{409} // 0), 10, 'made, or still in flight');

my ($x, $y) = map { $d->call(@{ $same[0] }) } 1, 2;
is("$x->{status} $y->{status}", '201 201', 'the answer is given again');
is($x->{json}{service_id}, $y->{json}{service_id}, 'the same one');
is($y->{headers}{'idempotency-replayed'}, 'true', 'and says so');
is($y->{headers}{location}, "/api/v1/services/$y->{json}{service_id}",
    'with its headers');

$r = $d->call('POST', '/api/v1/services', { name => 'twice' },
    'Idempotency-Key' => 'k1');
is("$r->{status} $r->{json}{code}", '422 KEY_REUSED', 'another request');
is($d->call('GET', '/api/v1/services/twice')->{status}, 404, 'was not made');

$r = $d->call('POST', '/api/v1/services', { name => '' },
    'Idempotency-Key' => 'k2');
is($r->{status}, 422, 'an error is an answer, too');
is($d->call('POST', '/api/v1/services', { name => '' },
    'Idempotency-Key' => 'k2')->{headers}{'idempotency-replayed'}, 'true',
    'and is kept');

# two hundred clients

is_deeply(counts($d->at_once(([ 'GET', '/api/v1/services' ]) x 200)),
    { 200 => 200 }, 'two hundred clients at once');

###############################################################################

$d->finish();

done_testing();
