//! What the house leans on in Kafka, shown on the embedded cluster (always) and on real brokers (`real::*`,
//! from `SYNOD_KAFKA_BROKERS`; they fail when it is missing: `eval "$(scripts/services up)"`).

#![allow(clippy::unwrap_used)] // a test's way to fail

mod bed;
mod grouping;
mod making;
mod producing;
mod reading;
mod retrying;

mod embedded {
    use super::bed::Bed;
    use super::{grouping, making, producing, reading, retrying};

    #[tokio::test(flavor = "multi_thread")]
    async fn acknowledgements_carry_consecutive_offsets() {
        producing::acknowledgements_carry_consecutive_offsets(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn headers_round_trip() {
        producing::headers_round_trip(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn keys_land_where_the_java_client_puts_them() {
        producing::keys_land_where_the_java_client_puts_them(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn too_large_is_refused_with_the_record() {
        producing::too_large_is_refused_with_the_record(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn the_largest_record_goes_through() {
        producing::the_largest_record_goes_through(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_panicking_callback_stops_nothing() {
        producing::a_panicking_callback_stops_nothing(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn statistics_tell_of_the_broker() {
        producing::statistics_tell_of_the_broker(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_broker_that_comes_back_gets_everything_once() {
        producing::a_broker_that_comes_back_gets_everything_once(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn readers_begin_where_they_are_told() {
        reading::readers_begin_where_they_are_told(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_fold_ends_at_its_offset() {
        reading::a_fold_ends_at_its_offset(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_fold_waits_for_its_offset() {
        reading::a_fold_waits_for_its_offset(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn to_the_end_and_no_further() {
        reading::to_the_end_and_no_further(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn many_partitions_over_one_set_of_connections() {
        reading::many_partitions_over_one_set_of_connections(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_partition_has_one_reader() {
        reading::a_partition_has_one_reader(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_dropped_wait_loses_nothing() {
        reading::a_dropped_wait_loses_nothing(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn beyond_the_end_is_a_lost_position() {
        reading::beyond_the_end_is_a_lost_position(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_mock_dropped_is_a_lost_position() {
        reading::what_the_mock_dropped_is_a_lost_position(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn both_codecs_arrive_typed() {
        grouping::both_codecs_arrive_typed(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn poison_becomes_one_dead_letter() {
        grouping::poison_becomes_one_dead_letter(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_failing_handler_stalls_only_its_partition() {
        grouping::a_failing_handler_stalls_only_its_partition(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn an_offset_is_stored_only_after_its_effect() {
        grouping::an_offset_is_stored_only_after_its_effect(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn handlers_are_bounded_and_partitions_in_order() {
        grouping::handlers_are_bounded_and_partitions_in_order(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_handed_back_comes_again_in_order_for_its_group_alone() {
        retrying::what_is_handed_back_comes_again_in_order_for_its_group_alone(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn what_comes_again_too_often_is_a_dead_letter() {
        retrying::what_comes_again_too_often_is_a_dead_letter(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_relay_that_ends_with_records_in_hand_loses_none() {
        retrying::a_relay_that_ends_with_records_in_hand_loses_none(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_missing_topic_is_found() {
        making::a_missing_topic_is_found(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_reply_topic_is_made_once() {
        making::a_reply_topic_is_made_once(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn to_ask_whether_a_topic_is_there_makes_none() {
        making::to_ask_whether_a_topic_is_there_makes_none(&Bed::embedded()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn another_process_makes_a_topic_by_asking() {
        making::another_process_makes_a_topic_by_asking(&Bed::embedded()).await;
    }
    #[test]
    fn the_mesh_is_there_on_loopback() {
        making::the_mesh_is_there_on_loopback();
    }
}

mod nowhere {
    use super::producing;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_queue_gives_the_record_back() {
        producing::a_full_queue_gives_the_record_back().await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn no_acknowledgement_in_time_is_an_unknown_outcome() {
        producing::no_acknowledgement_in_time_is_an_unknown_outcome().await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_dropped_producer_tells_its_callbacks() {
        producing::a_dropped_producer_tells_its_callbacks().await;
    }
}

mod real {
    use super::bed::Bed;
    use super::{grouping, making, producing, reading, retrying};

    #[tokio::test(flavor = "multi_thread")]
    async fn acknowledgements_carry_consecutive_offsets() {
        producing::acknowledgements_carry_consecutive_offsets(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn headers_round_trip() {
        producing::headers_round_trip(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn keys_land_where_the_java_client_puts_them() {
        producing::keys_land_where_the_java_client_puts_them(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn too_large_is_refused_with_the_record() {
        producing::too_large_is_refused_with_the_record(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn the_largest_record_goes_through() {
        producing::the_largest_record_goes_through(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn readers_begin_where_they_are_told() {
        reading::readers_begin_where_they_are_told(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_fold_ends_at_its_offset() {
        reading::a_fold_ends_at_its_offset(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_fold_waits_for_its_offset() {
        reading::a_fold_waits_for_its_offset(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn to_the_end_and_no_further() {
        reading::to_the_end_and_no_further(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn many_partitions_over_one_set_of_connections() {
        reading::many_partitions_over_one_set_of_connections(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_partition_has_one_reader() {
        reading::a_partition_has_one_reader(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_dropped_wait_loses_nothing() {
        reading::a_dropped_wait_loses_nothing(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn beyond_the_end_is_a_lost_position() {
        reading::beyond_the_end_is_a_lost_position(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_trimmed_is_a_lost_position() {
        reading::what_was_trimmed_is_a_lost_position(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn both_codecs_arrive_typed() {
        grouping::both_codecs_arrive_typed(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn poison_becomes_one_dead_letter() {
        grouping::poison_becomes_one_dead_letter(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_failing_handler_stalls_only_its_partition() {
        grouping::a_failing_handler_stalls_only_its_partition(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn an_offset_is_stored_only_after_its_effect() {
        grouping::an_offset_is_stored_only_after_its_effect(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn handlers_are_bounded_and_partitions_in_order() {
        grouping::handlers_are_bounded_and_partitions_in_order(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_second_member_takes_over_without_loss() {
        grouping::a_second_member_takes_over_without_loss(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_handed_back_comes_again_in_order_for_its_group_alone() {
        retrying::what_is_handed_back_comes_again_in_order_for_its_group_alone(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn what_comes_again_too_often_is_a_dead_letter() {
        retrying::what_comes_again_too_often_is_a_dead_letter(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_relay_that_ends_with_records_in_hand_loses_none() {
        retrying::a_relay_that_ends_with_records_in_hand_loses_none(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_missing_topic_is_found() {
        making::a_missing_topic_is_found(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn a_reply_topic_is_made_once() {
        making::a_reply_topic_is_made_once(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn to_ask_whether_a_topic_is_there_makes_none() {
        making::to_ask_whether_a_topic_is_there_makes_none(&Bed::real()).await;
    }
    #[tokio::test(flavor = "multi_thread")]
    async fn each_planted_difference_is_found() {
        making::each_planted_difference_is_found(&Bed::real()).await;
    }
}
