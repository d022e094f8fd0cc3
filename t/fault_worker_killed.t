#!/usr/bin/perl

# The fault matrix: a worker of nginx is killed.  Its connections end with it, those
# of the other worker go on, and its counts are given back: in the status within
# a second, in the list when its lease ends.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Fault;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $f = Test::Corral::Fault->new();
my $t = $f->t();

$f->plan(14);
$f->begin();

###############################################################################

# the worker that holds fewer of them, but some

my %held;
wait_for(sub {
    my %rows = $f->rows();
    return 0 if grep { !$_->{worker} } values %rows;
    %held = ();
    $held{ $_->{worker} }++ for values %rows;
    keys %held == 2 or !$f->connect(4);
}, 15);

is(scalar keys %held, 2, 'clients on both workers');

my ($worker) = sort { $held{$a} <=> $held{$b} } keys %held;
my ($pid) = $worker =~ /:(\d+):/;

is($f->affect(sub { $_[0]{worker} eq $worker }), $held{$worker},
    'those on one worker are affected');
my $left = $f->others();

$t->expect_alert(qr/worker process $pid exited on signal 9/);
$f->strike(sub { kill 'KILL', $pid });
$f->told([ 1006 ], 1);

my $counted;
wait_for(sub {
    $counted = 0;
    $counted += $_ for values %{ $f->s()->counted('echo') };
    $counted == $left;
}, 2);
is($counted, $left, 'what it held is given back');

$f->unharmed();
ok(wait_for(sub { $t->workers() == 2 }), 'another worker takes its place');
is($f->serve(), 20, 'new clients');
$f->lives('its lease ended', 15);

$f->finish();
