"""Every sentence that a reason can be, in English and Chinese, by code; the words in braces are figures of the customer."""

from __future__ import annotations

from collections.abc import Mapping

from serving.decisions.facts import Language

OFFERS: Mapping[str, Mapping[Language, str]] = {
    "BOUGHT_BEFORE": {"en": "{item}: bought in {orders}, last {days} ago.", "zh": "{item}：购买过 {orders}，上次在 {days}前。"},
    "RANKED_NEW": {
        "en": "{item} is number {rank} of what the model ranks for this customer among things never bought.",
        "zh": "在该客户从未购买过的品项中，模型将{item}排在第 {rank} 位。",
    },
    "POPULAR": {
        "en": "{share} of active customers bought {item} in the {horizon} before {date}.",
        "zh": "在 {date} 之前的 {horizon}内，{share} 的活跃客户购买了{item}。",
    },
    "ACCEPT_RATE": {
        "en": "{accepted} of {contacts} contacts with offers of this kind were accepted.",
        "zh": "此类优惠的 {contacts} 次触达中有 {accepted} 次被接受。",
    },
    "RISK": {"en": "Estimated risk of no purchase within {horizon}: {churn}.", "zh": "预计 {horizon}内不再购买的风险为 {churn}。"},
    "AT_STAKE": {"en": "Risk times predicted value is {loss} within {horizon}.", "zh": "{horizon}内，风险乘以预测价值为 {loss}。"},
    "COMPLAINT_OPEN": {"en": "A complaint has been open for {days}.", "zh": "有一项投诉已 {days}未结。"},
}
"""Why something is proposed, and what must be answered before anything is."""

SIGNS: Mapping[str, Mapping[Language, str]] = {
    "PAUSE": {"en": "Last purchase {recency} ago; the average gap between two is {gap}.", "zh": "距上次购买已 {recency}，平时平均每 {gap}购买一次。"},
    "ONE_ORDER": {"en": "Bought only once in a year, {recency} ago.", "zh": "一年内只购买过一次，是在 {recency}前。"},
    "YEAR_SILENT": {"en": "No purchase in a year.", "zh": "一年内没有购买。"},
    "SILENT": {
        "en": "No purchase for {own}; the typical customer last bought {typical} ago.",
        "zh": "已 {own}没有购买，典型客户的上次购买是在 {typical}前。",
    },
    "LONG_GAPS": {
        "en": "{own} between two purchases on average, {typical} for the typical customer.",
        "zh": "平均每 {own}购买一次，典型客户每 {typical}一次。",
    },
    "ORDERS_DOWN": {
        "en": "{recent} in the last 90 days, against {before} per 90 days in the 275 days before.",
        "zh": "最近 90 天有 {recent}，此前 275 天平均每 90 天 {before}。",
    },
    "ORDERS_DOWN_MONTH": {
        "en": "{recent} in the last 30 days, against {before} per 30 days in the 60 days before.",
        "zh": "最近 30 天有 {recent}，此前 60 天平均每 30 天 {before}。",
    },
    "FEW_ORDERS": {"en": "{own} in a year, {typical} for the typical customer.", "zh": "一年内有 {own}，典型客户为 {typical}。"},
    "SPEND_DOWN": {
        "en": "Spent {recent} in the last 90 days, against {before} per 90 days in the 275 days before.",
        "zh": "最近 90 天消费 {recent}，此前 275 天平均每 90 天 {before}。",
    },
    "SPEND_DOWN_MONTH": {
        "en": "Spent {recent} in the last 30 days, against {before} per 30 days in the 60 days before.",
        "zh": "最近 30 天消费 {recent}，此前 60 天平均每 30 天 {before}。",
    },
    "LOW_SPEND": {"en": "Spent {own} in a year, {typical} for the typical customer.", "zh": "一年内消费 {own}，典型客户为 {typical}。"},
    "BASKET_DOWN": {
        "en": "{recent} per order in the last 90 days, {year} over the whole year.",
        "zh": "最近 90 天平均每单 {recent}，全年平均每单 {year}。",
    },
    "SMALL_BASKETS": {"en": "{own} per order in a year, {typical} for the typical customer.", "zh": "一年内平均每单 {own}，典型客户为 {typical}。"},
    "FEW_LINES": {"en": "{own} per order in a year, {typical} for the typical customer.", "zh": "一年内平均每单 {own}，典型客户为 {typical}。"},
    "DISCOUNTS_DOWN": {
        "en": "Discounts were {recent} of the price in the last 90 days, {year} over the whole year.",
        "zh": "最近 90 天折扣占原价的 {recent}，全年为 {year}。",
    },
    "DISCOUNTS_HIGH": {
        "en": "Discounts were {own} of the price in a year, {typical} for the typical customer.",
        "zh": "一年内折扣占原价的 {own}，典型客户为 {typical}。",
    },
    "RETURNS": {"en": "Returned {own} of the money spent in a year.", "zh": "一年内退货金额占消费的 {own}。"},
    "FEW_PRODUCTS_QUARTER": {
        "en": "{own} bought in the last 90 days, {typical} by the typical customer.",
        "zh": "最近 90 天购买过 {own}，典型客户为 {typical}。",
    },
    "FEW_PRODUCTS": {"en": "{own} bought in a year, {typical} by the typical customer.", "zh": "一年内购买过 {own}，典型客户为 {typical}。"},
    "FEW_CATEGORIES": {"en": "Bought from {own} in a year, the typical customer from {typical}.", "zh": "一年内购买过 {own}，典型客户为 {typical}。"},
    "NEW_CUSTOMER": {
        "en": "First purchase of the last 365 days was {own} ago, {typical} for the typical customer.",
        "zh": "近 365 天内的首次购买在 {own}前，典型客户在 {typical}前。",
    },
    "NEW_CONTRACT": {"en": "Contract for {own}, {typical} for the typical customer.", "zh": "合同已履行 {own}，典型客户为 {typical}。"},
    "CONTRACT_ENDS": {"en": "The contract ends in {own} by its terms.", "zh": "按约定，合同将在 {own}后到期。"},
    "NO_RENEWAL": {"en": "No running contract is known to renew itself.", "zh": "现有合同均未约定自动续约。"},
    "HIGH_PRICE": {"en": "Pays {own} per period, {typical} for the typical customer.", "zh": "每期费用 {own}，典型客户为 {typical}。"},
    "COMPLAINTS": {"en": "{own} in a year, the last {days} ago.", "zh": "一年内有 {own}，最近一次在 {days}前。"},
    "SUPPORT_CALLS": {"en": "{own} in a year, the last {days} ago.", "zh": "一年内有 {own}，最近一次在 {days}前。"},
    "LOW_RATINGS": {
        "en": "Ratings of {own} on average in a year, {typical} from the typical customer.",
        "zh": "一年内平均评分 {own}，典型客户为 {typical}。",
    },
    "LOW_SURVEYS": {
        "en": "Survey scores of {own} on average in a year, {typical} from the typical customer.",
        "zh": "一年内问卷平均得分 {own}，典型客户为 {typical}。",
    },
    "DISAPPOINTED": {
        "en": "In surveys of a year, what was found was rated {own} below what was expected.",
        "zh": "一年内的问卷中，实际感受比预期低 {own}。",
    },
    "FEW_POINTS": {"en": "Earned {own} in a year, {typical} for the typical customer.", "zh": "一年内获得积分 {own}，典型客户为 {typical}。"},
    "LAST_VISIT": {"en": "Last visit {own} ago, {typical} for the typical customer.", "zh": "上次访问在 {own}前，典型客户在 {typical}前。"},
    "VISITS_DOWN": {
        "en": "{recent} in the last 30 days, against {before} per 30 days in the 60 days before.",
        "zh": "最近 30 天有 {recent}，此前 60 天平均每 30 天 {before}。",
    },
    "FEW_VISITS": {"en": "{own} in the last 90 days, {typical} for the typical customer.", "zh": "最近 90 天有 {own}，典型客户为 {typical}。"},
    "LAST_CONTACT": {"en": "Last contacted {own} ago, {typical} for the typical customer.", "zh": "上次触达在 {own}前，典型客户在 {typical}前。"},
    "MANY_CONTACTS": {"en": "{own} in the last 30 days, {typical} for the typical customer.", "zh": "最近 30 天有 {own}，典型客户为 {typical}。"},
    "FEW_CONTACTS": {"en": "{own} in a year, {typical} for the typical customer.", "zh": "一年内有 {own}，典型客户为 {typical}。"},
    "LAST_ANSWER": {
        "en": "Last click or acceptance of an offer {own} ago, {typical} for the typical customer.",
        "zh": "上次点击或接受优惠在 {own}前，典型客户在 {typical}前。",
    },
    "FEW_OPENED": {
        "en": "{own} opened in the last 90 days, {typical} by the typical customer.",
        "zh": "最近 90 天打开过 {own}，典型客户为 {typical}。",
    },
    "UNSUBSCRIBED": {"en": "Unsubscribed {own} in a year.", "zh": "一年内退订 {own}。"},
    "REJECTED": {"en": "Rejected {own} in a year.", "zh": "一年内拒绝过 {own}。"},
    "CONTACT_COMPLAINTS": {"en": "{own} about contacts in a year.", "zh": "一年内有 {own}针对触达。"},
}
"""Signs that a customer may leave; each is a row of ``serving.decisions.signals``."""
